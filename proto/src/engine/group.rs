//! Groups: who is in them, in the order in which they joined.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use slab::Slab;

/// All groups of all virtual hosts.
#[derive(Default)]
pub(super) struct Groups {
    list: Slab<Group>,
    /// By virtual host.
    names: Vec<BTreeMap<Box<[u8]>, usize>>,
    /// Joins so far, in all groups.
    joins: u64,
}

/// A group with at least one member.
struct Group {
    host: usize,
    name: Box<[u8]>,
    /// In the order of their joins. Who has left stays as a gap until there are more gaps than members.
    roster: Vec<Member>,
    members: usize,
}

#[derive(Clone, Copy)]
struct Member {
    join: u64,
    session: Option<u32>,
}

/// A session's place in a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Membership {
    pub group: usize,
    /// Which join it was.
    pub join: u64,
    /// The session does not get its own messages.
    pub noecho: bool,
}

impl Groups {
    pub fn new(hosts: usize) -> Self {
        Self { names: core::iter::repeat_with(BTreeMap::new).take(hosts).collect(), ..Self::default() }
    }

    pub fn find(&self, host: usize, name: &[u8]) -> Option<usize> {
        self.names[host].get(name).copied()
    }

    /// Adds a session that is not in the group yet, and makes the group if need be.
    pub fn join(&mut self, host: usize, name: &[u8], session: usize, noecho: bool) -> Membership {
        let group = self.find(host, name).unwrap_or_else(|| {
            let group = self.list.insert(Group { host, name: name.into(), roster: Vec::new(), members: 0 });
            self.names[host].insert(name.into(), group);
            group
        });
        let join = self.joins;
        self.joins += 1;
        let entry = &mut self.list[group];
        if entry.roster.len() > 2 * entry.members + 8 {
            entry.roster.retain(|member| member.session.is_some());
        }
        entry.roster.push(Member { join, session: Some(session as u32) });
        entry.members += 1;
        Membership { group, join, noecho }
    }

    /// Removes a member, and the group if it was the last.
    pub fn leave(&mut self, membership: Membership) {
        let Some(group) = self.list.get_mut(membership.group) else { return };
        let Some(place) = group.place_of(membership.join) else { return };
        if group.roster[place].session.take().is_none() {
            return;
        }
        group.members -= 1;
        if group.members == 0 {
            let group = self.list.remove(membership.group);
            self.names[group.host].remove(&group.name);
        }
    }

    /// What the next join will be: members before it are those that a message which comes now is for.
    pub fn joins(&self) -> u64 {
        self.joins
    }

    /// Where in the group's roster the first member stands that joined at `join` or later. Good until somebody joins.
    pub fn place_from(&self, group: usize, join: u64) -> usize {
        self.list.get(group).map_or(0, |group| group.roster.partition_point(|member| member.join < join))
    }

    /// The first member at `place` or behind it: its place, its join and its session.
    pub fn member_from(&self, group: usize, place: usize) -> Option<(usize, u64, usize)> {
        let behind = self.list.get(group)?.roster.get(place..)?;
        behind.iter().zip(place..).find_map(|(member, at)| Some((at, member.join, member.session? as usize)))
    }

    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Each group's virtual host, name, and members with their joins; for checks.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[u8], usize, impl Iterator<Item = (u64, usize)>)> {
        self.list.iter().map(|(place, group)| {
            let members = group.roster.iter().filter_map(|member| Some((member.join, member.session? as usize)));
            (group.host, &group.name[..], place, members)
        })
    }
}

impl Group {
    fn place_of(&self, join: u64) -> Option<usize> {
        let place = self.roster.partition_point(|member| member.join < join);
        self.roster.get(place).is_some_and(|member| member.join == join).then_some(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(groups: &Groups, group: usize) -> Vec<usize> {
        let mut found = Vec::new();
        let mut place = 0;
        while let Some((at, _, session)) = groups.member_from(group, place) {
            found.push(session);
            place = at + 1;
        }
        found
    }

    #[test]
    fn members_stay_in_the_order_of_their_joins_whoever_leaves() {
        let mut groups = Groups::new(1);
        let mut joined: Vec<Membership> = (0..100).map(|session| groups.join(0, b"g", session, false)).collect();
        let group = joined[0].group;
        for membership in joined.iter().filter(|membership| membership.join % 3 != 0) {
            groups.leave(*membership);
        }
        joined.push(groups.join(0, b"g", 200, false));
        let expected: Vec<usize> = (0..100).step_by(3).chain([200]).collect();
        assert_eq!(members(&groups, group), expected);
        assert!(groups.list[group].roster.len() < 60, "gaps are closed");
        groups.leave(joined[0]);
        groups.leave(joined[0]);
        assert_eq!(members(&groups, group), expected[1..], "leaving twice changes nothing");
    }

    #[test]
    fn a_group_is_gone_with_its_last_member_and_of_its_host_alone() {
        let mut groups = Groups::new(2);
        let here = groups.join(0, b"g", 1, false);
        let there = groups.join(1, b"g", 2, false);
        assert_ne!(here.group, there.group);
        groups.leave(here);
        assert_eq!((groups.find(0, b"g"), groups.find(1, b"g"), groups.len()), (None, Some(there.group), 1));
    }
}
