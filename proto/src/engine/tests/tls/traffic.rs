//! What goes to and fro once the handshake is complete.

use super::browser::{GET, SITE, Site, TLS12, TLS13};
use super::*;

#[test]
fn a_request_travels_to_a_node_and_its_answer_back() {
    for (versions, step) in [(TLS12, usize::MAX), (TLS13, usize::MAX), (TLS12, 1), (TLS13, 1)] {
        let mut site = Site::new(SITE);
        let mut node = Node::connect(&mut site.world, "one");
        let mut browser = site.browser(versions);
        browser.step = step;
        browser.run(&mut site.world);
        for _ in 0..2 {
            browser.send(&mut site.world, GET.as_bytes());
            let sid = node.receive(&mut site.world).into_iter().find(|(_, kind, _)| kind == "uwsgi").unwrap().0;
            node.send(&mut site.world, &sid, "headers", HEAD);
            node.send(&mut site.world, &sid, "body", b"Hello");
            assert_eq!(browser.text(&mut site.world), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nHello");
        }
        assert!(site.world.reports.iter().all(|report| report.level() < Level::Warn), "{:?}", site.world.reports);
    }
}
