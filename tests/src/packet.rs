//! uwsgi packets, decoded for the tests alone.

/// Reads a packet strictly: the variables in their order.
///
/// # Panics
/// If a length does not fit, or a name other than that of a field stands twice.
pub fn variables(packet: &[u8]) -> Vec<(String, Vec<u8>)> {
    let (header, mut rest) = packet.split_at(4);
    let size = usize::from(u16::from_le_bytes([header[1], header[2]]));
    assert_eq!((header[0], size, header[3]), (0, rest.len(), 0), "the packet's header");
    let mut found: Vec<(String, Vec<u8>)> = Vec::new();
    while !rest.is_empty() {
        let name = String::from_utf8(text(&mut rest)).expect("an ASCII name");
        let value = text(&mut rest);
        let field = name.starts_with("HTTP_");
        assert!(field || found.iter().all(|(other, _)| *other != name), "{name} stands twice");
        found.push((name, value));
    }
    found
}

fn text(rest: &mut &[u8]) -> Vec<u8> {
    let (length, after) = rest.split_at(2);
    let (text, after) = after.split_at(u16::from_le_bytes([length[0], length[1]]).into());
    *rest = after;
    text.to_vec()
}

/// The variable that carries a field.
pub fn variable(field: &str) -> String {
    format!("HTTP_{}", field.to_uppercase().replace('-', "_"))
}

/// A packet of these variables: a node's response as a dictionary.
pub fn encode(variables: &[(&str, &str)]) -> Vec<u8> {
    let mut body = Vec::new();
    for text in variables.iter().flat_map(|(name, value)| [name, value]) {
        body.extend_from_slice(&(text.len() as u16).to_le_bytes());
        body.extend_from_slice(text.as_bytes());
    }
    let mut packet = vec![0; 4];
    packet[1..3].copy_from_slice(&(body.len() as u16).to_le_bytes());
    packet.extend(body);
    packet
}

#[cfg(test)]
mod tests {
    #[test]
    fn packets_round_trip() {
        let packet = super::encode(&[("STATUS", "200 OK"), ("Empty", "")]);
        assert_eq!(super::variables(&packet), [("STATUS".into(), b"200 OK".to_vec()), ("Empty".into(), vec![])]);
    }
}
