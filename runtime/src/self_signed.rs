//! A certificate for a start: made in memory, known by its fingerprint, and trusted by nobody else.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use blastbeat_proto::address::{BindAddr, split_port};
use blastbeat_proto::config::{Config, File, Identity, Listener, Serves, Spdy};
use blastbeat_proto::tls::fingerprint;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256};

/// Where TLS is served if the configuration has no place for it.
const PORT: u16 = 8443;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long it is good: what browsers still take. Each start makes another.
const LIFETIME: Duration = DAY.saturating_mul(397);

/// A certificate that was made.
#[derive(Debug)]
pub(crate) struct SelfSigned {
    /// The names that it is for.
    pub names: String,
    /// SHA-256 of it, as browsers show it.
    pub fingerprint: String,
}

/// Gives `config` a certificate for `host`, and for the hosts that have none; and a listener for TLS on 127.0.0.1, port
/// 8443, if it has none. `now` is the time since 1970.
///
/// # Errors
///
/// What is wrong with the name, or why there is nothing to do: a sentence for the operator.
pub(crate) fn add(config: &mut Config, host: &str, now: Duration) -> Result<SelfSigned, String> {
    if !is_name(host) {
        return Err(format!("{host:?} is no name that a certificate could be for; write a host name or an address"));
    }
    if config.identity.is_some() || config.hosts.iter().all(|host| host.identity.is_some()) {
        return Err("every virtual host has a certificate already; leave --self-signed out".to_owned());
    }
    let names = names(config, host);
    let (identity, fingerprint) = make(&names, now)?;
    config.identity = Some(identity);
    if !config.listeners.iter().any(Listener::is_tls) {
        listen(config);
    }
    Ok(SelfSigned { names: names.join(" "), fingerprint })
}

/// `host`, and the names of those without a certificate.
fn names(config: &Config, host: &str) -> Vec<String> {
    let mut names = vec![host.to_ascii_lowercase()];
    if names[0] == "localhost" {
        names.extend(["127.0.0.1".to_owned(), "::1".to_owned()]);
    }
    for host in config.hosts.iter().filter(|host| host.identity.is_none()) {
        for name in std::iter::once(&host.name).chain(&host.aliases) {
            let bare = split_port(name).0.trim_start_matches('[').trim_end_matches(']').to_ascii_lowercase();
            if is_name(&bare) && !names.contains(&bare) {
                names.push(bare);
            }
        }
    }
    names
}

fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_host = |text: &str| text.len() <= 253 && text.split('.').all(is_label);
    text.parse::<IpAddr>().is_ok() || is_host(text.strip_prefix("*.").unwrap_or(text))
}

fn make(names: &[String], now: Duration) -> Result<(Identity, String), String> {
    let cannot = |why: rcgen::Error| format!("a certificate cannot be made: {why}");
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(cannot)?;
    let mut params = CertificateParams::new(names).map_err(cannot)?;
    params.distinguished_name.push(DnType::CommonName, names[0].as_str());
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    // Clocks differ; a day is what others allow for it.
    params.not_before = rcgen::date_time_ymd(1970, 1, 1) + now.saturating_sub(DAY);
    params.not_after = params.not_before + LIFETIME;
    let certificate = params.self_signed(&key).map_err(cannot)?;
    let digits: Vec<_> = fingerprint(certificate.der()).iter().map(|byte| format!("{byte:02X}")).collect();
    // The names stand for files where the configuration is printed or recorded.
    let file = |name: &str, pem: String| File { path: name.into(), body: pem.into() };
    let identity = Identity {
        certificate: file("self-signed certificate", certificate.pem()),
        key: file("self-signed key", key.serialize_pem()),
    };
    Ok((identity, digits.join(":")))
}

/// Adds the listener. Where each host has listeners of its own, a shared one would lead to none: then it leads to all.
fn listen(config: &mut Config) {
    let address = BindAddr::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    let serves = Serves::Http { proxy: false, tls: true, http2: true, spdy: Spdy::NONE };
    let mut listener = Listener { address, serves, hosts: Vec::new(), priority: 1 };
    if config.reached_by(&listener).is_empty() {
        listener.hosts = (0..config.hosts.len()).collect();
    }
    config.add_listener(listener);
}

#[cfg(test)]
mod tests {
    use blastbeat_proto::config::{Mode, Stores};
    use blastbeat_proto::tls::WallClock;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_800_000_000);

    fn parsed(text: &str) -> Config {
        Config::parse_uncertified(text.as_bytes(), "test.ini", Mode::Strict).expect("it is sound").0
    }

    /// Adds a certificate; the configuration is then as good as one from a file.
    fn added(mut config: Config, host: &str) -> (Config, SelfSigned) {
        let made = add(&mut config, host, NOW).unwrap();
        Stores::new(&config, &WallClock::new(NOW)).unwrap();
        let (again, _) = Config::parse(config.to_string().as_bytes(), "again", Mode::Strict).unwrap();
        assert_eq!(again.listeners, config.listeners, "a recording has them in the same order");
        (config, made)
    }

    fn endpoints(config: &Config) -> Vec<String> {
        let tls = config.listeners.iter().filter(|listener| listener.is_tls());
        tls.map(|listener| format!("{} {:?}", listener.endpoint(), config.reached_by(listener))).collect()
    }

    #[test]
    fn what_is_built_in_is_served_by_tls_too() {
        let (config, made) = added(Config::builtin(), "LOCALHOST");
        assert_eq!(endpoints(&config), ["127.0.0.1:8443 [0]"]);
        assert_eq!(config.listeners.len(), 3, "beside clear text and nodes");
        assert_eq!(made.names, "localhost 127.0.0.1 ::1");
        let body = &config.identity.unwrap().certificate.body;
        assert!(body.starts_with(b"-----BEGIN CERTIFICATE-----"), "{body:?}");
        assert_eq!(made.fingerprint.len(), 32 * 3 - 1);
        assert!(made.fingerprint.split(':').all(|byte| u8::from_str_radix(byte, 16).is_ok()), "{made:?}");
    }

    #[test]
    fn hosts_without_a_certificate_get_this_one() {
        let text = "[blastbeat]\nbind-ssl = *:443\n\
                    [blastbeat:A.example:443]\nnode = app:welcome\nalias = [::1]\nalias = *\n\
                    [blastbeat:b.example]\nnode = app:welcome\ncertificate = b.pem\nkey = b.key\n";
        let mut config = parsed(text);
        let other = make(&["b.example".to_owned()], NOW).unwrap().0;
        config.hosts[1].identity = Some(other.clone());
        let (config, made) = added(config, "10.0.0.1");
        assert_eq!(endpoints(&config), ["0.0.0.0:443 [0, 1]"], "there is one already");
        assert_eq!(made.names, "10.0.0.1 a.example ::1");
        assert_eq!(config.identity_of(1), Some(&other));
        assert_eq!(config.identity_of(0), config.identity.as_ref());
    }

    #[test]
    fn a_configuration_in_clear_text_gets_a_listener() {
        let (config, _) = added(parsed("[blastbeat]\nbind = *:80\n[blastbeat:a]\nnode = app:welcome\n"), "a");
        assert_eq!(endpoints(&config), ["127.0.0.1:8443 [0]"]);
        let own = "[blastbeat:a]\nbind = *:80\nnode = app:welcome\n[blastbeat:b]\nbind = *:81\nnode = app:welcome\n";
        let (config, _) = added(parsed(own), "a");
        assert_eq!(endpoints(&config), ["127.0.0.1:8443 [0, 1]"], "a shared one would lead to nobody");
    }

    #[test]
    fn names_that_cannot_be_and_certificates_that_nobody_needs_are_refused() {
        for name in ["", "a b", "a..b", "-_!", "*", "a:80", "ä"] {
            let message = add(&mut Config::builtin(), name, NOW).unwrap_err();
            assert!(message.contains("is no name"), "{message}");
        }
        let mut config = Config::builtin();
        add(&mut config, "*.example.org", NOW).unwrap();
        let before = config.clone();
        assert!(add(&mut config, "b", NOW).unwrap_err().contains("leave --self-signed out"));
        assert_eq!(config, before);
    }

    #[test]
    fn each_start_makes_another() {
        let fingerprint = || add(&mut Config::builtin(), "localhost", NOW).unwrap().fingerprint;
        assert_ne!(fingerprint(), fingerprint());
    }
}
