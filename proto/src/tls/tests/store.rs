//! What is wrong with certificates is told before they are used.

use super::peer::*;
use crate::tls::{Certificates, ClientAuth, Entry, EntryError, Problem, Resumption};

fn problems(entries: &[Entry]) -> Vec<EntryError> {
    Certificates::new(entries, Resumption::default(), &clock()).expect_err("something is wrong")
}

fn problem(entry: Entry) -> Problem {
    match &mut problems(&[entry])[..] {
        [only] => only.problem.clone(),
        more => panic!("{more:?}"),
    }
}

#[test]
fn names_are_checked() {
    let certified = ed25519(&["a.test"]);
    for name in ["", "a b", ".", "*..", "a.*.test", "*a.test", "**", "-a.test", "a..test", "ü.test", "a.test:443"] {
        assert_eq!(problem(entry(&[name], &certified)), Problem::NameMalformed(name.to_string()));
    }
    store(&[entry(&["a.test", "A.test.", "xn--tda.test", "_a.test", "*.test", "*", "::1", "10.0.0.1"], &certified)]);
}

#[test]
fn a_name_has_one_entry() {
    let certified = ed25519(&["a.test"]);
    let found = problems(&[
        entry(&["a.test", "*.b.test", "*"], &certified),
        entry(&["b.test", "A.TEST.", "*.b.test", "*"], &certified),
    ]);
    let taken = |name: &str| EntryError {
        entry: "b.test".to_string(),
        problem: Problem::NameTaken { name: name.to_string(), by: "a.test".to_string() },
    };
    assert_eq!(found, [taken("A.TEST."), taken("*.b.test"), taken("*")]);
    assert_eq!(found[0].to_string(), "b.test: 'A.TEST.' is a name of a.test already");
}

#[test]
fn chains_are_checked() {
    let certified = ed25519(&["a.test"]);
    let with = |chain: String| entry(&["a.test"], &Certified { chain, ..certified.clone() });
    assert_eq!(problem(with(String::new())), Problem::ChainEmpty);
    assert_eq!(problem(with(certified.key.clone())), Problem::ChainEmpty);
    assert!(matches!(problem(with("-----BEGIN CERTIFICATE-----\n!".to_string())), Problem::ChainMalformed(_)));
    let stub = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert_eq!(problem(with(stub.to_string())), Problem::CertificateMalformed { number: 1 });
    assert_eq!(problem(with(format!("{}{stub}", certified.chain))), Problem::CertificateMalformed { number: 2 });
}

#[test]
fn keys_are_checked() {
    let (certified, other) = (ed25519(&["a.test"]), self_signed(&rcgen::PKCS_ECDSA_P256_SHA256, &["a.test"]));
    let with = |key: String| entry(&["a.test"], &Certified { key, ..certified.clone() });
    assert_eq!(problem(with(String::new())), Problem::KeyMissing);
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nMAA=\n-----END ENCRYPTED PRIVATE KEY-----\n";
    assert_eq!(problem(with(encrypted.to_string())), Problem::KeyMissing);
    assert!(matches!(problem(with("-----BEGIN PRIVATE KEY-----\n".to_string())), Problem::KeyMalformed(_)));
    let stub = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
    assert!(matches!(problem(with(stub.to_string())), Problem::KeyUnsupported(_)));
    assert_eq!(problem(with(other.key)), Problem::KeyMismatch);
    assert_eq!(problem(with(ed25519(&["a.test"]).key)), Problem::KeyMismatch);
}

#[test]
fn what_belongs_to_a_certificate_is_checked() {
    let certified = ed25519(&["a.test"]);
    let good = entry(&["a.test"], &certified);
    assert_eq!(problem(Entry { ocsp: Some(b"nothing".to_vec()), ..good.clone() }), Problem::OcspMalformed);
    assert_eq!(problem(Entry { protocols: vec![vec![]], ..good.clone() }), Problem::ProtocolMalformed);
    assert_eq!(problem(Entry { protocols: vec![vec![b'x'; 256]], ..good.clone() }), Problem::ProtocolMalformed);
    let required =
        |ca: &str| Entry { client_auth: ClientAuth::Required { ca: ca.as_bytes().to_vec() }, ..good.clone() };
    assert_eq!(problem(required("")), Problem::ClientCaEmpty);
    let stub = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
    assert!(matches!(problem(required(stub)), Problem::ClientCaMalformed(_)));
    assert!(matches!(problem(required("-----BEGIN CERTIFICATE-----\n")), Problem::ClientCaMalformed(_)));
}

#[test]
fn every_problem_is_told_at_once_and_no_key_is() {
    let certified = ed25519(&["a.test"]);
    let empty = Certified { chain: String::new(), key: String::new() };
    let found = problems(&[entry(&["a b", "c d"], &certified), entry(&["b.test"], &empty)]);
    assert_eq!(found.len(), 3);
    assert_eq!(found[2].to_string(), "b.test: there is no certificate");
    assert_eq!(format!("{:?}", entry(&["a.test"], &certified)), "Entry(a.test, for a.test)");
}
