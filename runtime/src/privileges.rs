//! Giving up root's rights.
//!
//! ```text
//! configured names --plan()--> Identity --drop_to()--> that user, its groups, no way back
//! ```
//!
//! A server that was started as root opens its listeners, becomes the configured user (`uid`, `nobody` by default) and
//! group (`gid`, the user's own by default) and makes sure that it cannot become root again. Started as anybody else it
//! stays who it is.

use std::ffi::CString;
use std::fmt;
use std::io;

use blastbeat_proto::config::Privileges;
use nix::unistd::{Gid, Group, Uid, User, initgroups, setgroups, setresgid, setresuid};

/// The user of a server whose configuration names none.
const DEFAULT_USER: &str = "nobody";

/// Who to become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user's number.
    pub uid: u32,
    /// The group's number.
    pub gid: u32,
    /// The user's name, which its further groups are listed under; without one there are none.
    name: Option<CString>,
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.uid, self.gid)
    }
}

/// Why privileges cannot be given up as configured.
#[derive(Debug)]
pub enum Problem {
    /// `uid` names nobody.
    UserUnknown(String),
    /// `gid` names no group.
    GroupUnknown(String),
    /// `uid` is a number without an account, which has no group of its own.
    GroupMissing(u32),
    /// The configuration names no user, and there is no `nobody`.
    DefaultUserMissing,
    /// The list of users or groups cannot be read.
    Accounts(io::Error),
    /// The system refused a step.
    Refused(&'static str, io::Error),
    /// Root's rights could be had again.
    NotGone,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UserUnknown(name) => {
                write!(f, "uid = {name}: there is no such user; write the name of an account, or a number")
            }
            Self::GroupUnknown(name) => write!(f, "gid = {name}: there is no such group; write its name or number"),
            Self::GroupMissing(uid) => {
                write!(f, "uid = {uid}: no account has this number, so its group is not known; write `gid` too")
            }
            Self::DefaultUserMissing => {
                write!(f, "started as root, and there is no user `{DEFAULT_USER}` to become; write `uid`")
            }
            Self::Accounts(why) => write!(f, "users and groups cannot be looked up: {why}"),
            Self::Refused(step, why) => write!(f, "privileges cannot be given up: {step}: {why}"),
            Self::NotGone => f.write_str("privileges cannot be given up: root's rights could be had again"),
        }
    }
}

impl std::error::Error for Problem {}

/// Whether this process has root's rights to give up.
pub fn are_held() -> bool {
    Uid::effective().is_root()
}

/// Finds who to become. A name that is written has to exist.
///
/// # Errors
///
/// The key that cannot be obeyed.
pub fn plan(configured: &Privileges) -> Result<Identity, Problem> {
    plan_with(configured, &SystemAccounts)
}

/// Becomes `identity`, for good.
///
/// # Errors
///
/// The step that failed: the process must end, since nobody knows whose rights it has.
pub fn drop_to(identity: &Identity) -> Result<(), Problem> {
    let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
    let step = |step, result: nix::Result<()>| result.map_err(|why| Problem::Refused(step, why.into()));
    match &identity.name {
        Some(name) => step("initgroups", initgroups(name, gid))?,
        None => step("setgroups", setgroups(&[gid]))?,
    }
    step("setgid", setresgid(gid, gid, gid))?;
    step("setuid", setresuid(uid, uid, uid))?;
    if !uid.is_root() && (setresuid(uid, ROOT, ROOT).is_ok() || Uid::effective().is_root()) {
        return Err(Problem::NotGone);
    }
    Ok(())
}

const ROOT: Uid = Uid::from_raw(0);

/// An account.
#[derive(Clone, Debug)]
struct Account {
    name: String,
    uid: u32,
    gid: u32,
}

/// The lists of users and groups.
trait Accounts {
    fn by_name(&self, name: &str) -> io::Result<Option<Account>>;
    fn by_uid(&self, uid: u32) -> io::Result<Option<Account>>;
    fn group(&self, name: &str) -> io::Result<Option<u32>>;
}

struct SystemAccounts;

impl Accounts for SystemAccounts {
    fn by_name(&self, name: &str) -> io::Result<Option<Account>> {
        Ok(User::from_name(name)?.map(Account::from))
    }

    fn by_uid(&self, uid: u32) -> io::Result<Option<Account>> {
        Ok(User::from_uid(Uid::from_raw(uid))?.map(Account::from))
    }

    fn group(&self, name: &str) -> io::Result<Option<u32>> {
        Ok(Group::from_name(name)?.map(|group| group.gid.as_raw()))
    }
}

impl From<User> for Account {
    fn from(user: User) -> Self {
        Self { name: user.name, uid: user.uid.as_raw(), gid: user.gid.as_raw() }
    }
}

fn plan_with(configured: &Privileges, accounts: &impl Accounts) -> Result<Identity, Problem> {
    let group = match &configured.group {
        Some(name) => Some(find_group(name, accounts)?),
        None => None,
    };
    let named = configured.user.as_deref();
    let account = match accounts.by_name(named.unwrap_or(DEFAULT_USER)).map_err(Problem::Accounts)? {
        Some(account) => account,
        // A number that is no name: containers run as users that have no account.
        None => {
            let name = named.ok_or(Problem::DefaultUserMissing)?;
            let uid = number(name).ok_or_else(|| Problem::UserUnknown(name.to_owned()))?;
            match accounts.by_uid(uid).map_err(Problem::Accounts)? {
                Some(account) => account,
                None => return Ok(Identity { uid, gid: group.ok_or(Problem::GroupMissing(uid))?, name: None }),
            }
        }
    };
    let name = CString::new(account.name).ok();
    Ok(Identity { uid: account.uid, gid: group.unwrap_or(account.gid), name })
}

fn find_group(name: &str, accounts: &impl Accounts) -> Result<u32, Problem> {
    match accounts.group(name).map_err(Problem::Accounts)? {
        Some(gid) => Ok(gid),
        None => number(name).ok_or_else(|| Problem::GroupUnknown(name.to_owned())),
    }
}

/// Reads a user's or group's number; the last one means "leave as it is" to the system.
fn number(text: &str) -> Option<u32> {
    text.parse().ok().filter(|number| *number != u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Listed;

    impl Accounts for Listed {
        fn by_name(&self, name: &str) -> io::Result<Option<Account>> {
            let numbers = match name {
                "nobody" => (65534, 65534),
                "www" => (33, 330),
                "1234" => (5, 50),
                "root" => (0, 0),
                _ => return Ok(None),
            };
            Ok(Some(Account { name: name.to_owned(), uid: numbers.0, gid: numbers.1 }))
        }

        fn by_uid(&self, uid: u32) -> io::Result<Option<Account>> {
            if uid == 33 { self.by_name("www") } else { Ok(None) }
        }

        fn group(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "staff").then_some(50))
        }
    }

    struct Empty;

    impl Accounts for Empty {
        fn by_name(&self, _: &str) -> io::Result<Option<Account>> {
            Ok(None)
        }

        fn by_uid(&self, _: u32) -> io::Result<Option<Account>> {
            Ok(None)
        }

        fn group(&self, _: &str) -> io::Result<Option<u32>> {
            Ok(None)
        }
    }

    fn planned(user: &str, group: &str) -> Result<(u32, u32, Option<String>), String> {
        let written = |name: &str| (!name.is_empty()).then(|| name.to_owned());
        let configured = Privileges { user: written(user), group: written(group) };
        plan_with(&configured, &Listed)
            .map(|found| (found.uid, found.gid, found.name.map(|name| name.into_string().unwrap())))
            .map_err(|problem| problem.to_string())
    }

    #[test]
    fn users_and_groups_are_found_by_name_and_number() {
        let www = Some("www".to_owned());
        assert_eq!(planned("www", ""), Ok((33, 330, www.clone())));
        assert_eq!(planned("33", ""), Ok((33, 330, www.clone())));
        assert_eq!(planned("www", "staff"), Ok((33, 50, www.clone())));
        assert_eq!(planned("www", "77"), Ok((33, 77, www)));
        assert_eq!(planned("4242", "77"), Ok((4242, 77, None)));
    }

    #[test]
    fn without_keys_it_is_nobody_and_its_group() {
        assert_eq!(planned("", ""), Ok((65534, 65534, Some("nobody".to_owned()))));
        assert_eq!(planned("", "staff"), Ok((65534, 50, Some("nobody".to_owned()))));
    }

    #[test]
    fn a_name_that_looks_like_a_number_is_a_name() {
        assert_eq!(planned("1234", ""), Ok((5, 50, Some("1234".to_owned()))));
    }

    #[test]
    fn what_is_written_and_unknown_is_refused_by_its_key() {
        let refused = |user, group| planned(user, group).unwrap_err();
        assert!(refused("wwww", "").starts_with("uid = wwww: there is no such user"));
        assert!(refused("www", "stuff").starts_with("gid = stuff: there is no such group"));
        assert!(refused("4242", "").contains("write `gid` too"));
        assert!(refused("4294967295", "77").starts_with("uid = 4294967295"));
        assert!(refused("-1", "77").starts_with("uid = -1"));
    }

    #[test]
    fn a_system_without_nobody_is_told_apart() {
        let nothing = Privileges { user: None, group: None };
        assert!(matches!(plan_with(&nothing, &Empty), Err(Problem::DefaultUserMissing)));
    }

    #[test]
    fn the_systems_own_accounts_are_found() {
        let root = Privileges { user: Some("0".into()), group: None };
        let found = plan(&root).unwrap();
        assert_eq!((found.uid, found.gid, found.name), (0, 0, Some(CString::from(c"root"))));
    }
}
