//! The load generator against both drivers.

use std::time::Duration;

use blastbeat_tests::host::Host;
use blastbeat_tests::load::{Figures, Plan, run};
use blastbeat_tests::sockets::Sockets;

const INI: &str = "[blastbeat]\nbind = 127.0.0.1:0\n[blastbeat:127.0.0.1]\nnode = app:welcome\n";

fn load(mut host: Sockets, change: impl FnOnce(&mut Plan)) -> Figures {
    host.start(blastbeat_tests::config(INI));
    let mut plan = Plan {
        url: format!("http://{}/", host.address(0)),
        connections: 8,
        time: Duration::from_millis(300),
        ..Plan::default()
    };
    change(&mut plan);
    let figures = run(&plan).expect("the load can be made");
    host.stop();
    figures
}

#[test]
fn a_closed_loop_is_answered_without_errors() {
    for host in [Sockets::mio(), Sockets::smol()] {
        let figures = load(host, |_| {});
        assert!(figures.answered > 0, "{figures}");
        assert!(figures.errors().is_empty(), "{figures}");
        assert!(figures.percentile(0.5) <= figures.percentile(0.99), "{figures}");
    }
}

#[test]
fn an_open_loop_keeps_its_rate() {
    let figures = load(Sockets::mio(), |plan| plan.rate = Some(200.0));
    assert_eq!(figures.answered, 60, "{figures}");
    assert!(figures.errors().is_empty(), "{figures}");
}

#[test]
fn errors_are_told_by_their_kind() {
    let figures = load(Sockets::mio(), |plan| plan.url = plan.url.replace("127.0.0.1", "localhost"));
    assert_eq!(figures.errors().get("status 404"), Some(&figures.answered), "{figures}");
    let nobody = Plan { url: "http://127.0.0.1:1/".to_owned(), time: Duration::from_millis(50), ..Plan::default() };
    let figures = run(&nobody).expect("the load can be made");
    assert_eq!(figures.answered, 0);
    assert!(figures.errors().keys().all(|kind| kind.contains("refused")), "{figures}");
}
