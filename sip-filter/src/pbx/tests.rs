//! The connectors against peers that play what was recorded, and against peers that misbehave.

pub(super) mod http;
pub(super) mod peer;

use std::time::Duration;

use super::*;
use peer::{Answer, Peer, pbx};

#[tokio::test]
async fn a_link_tells_how_it_stands_and_what_is_wrong_with_the_remedy() {
    let peer = Peer::new(|_, _| Answer::Last(String::new())).await;
    let address = peer.address();
    drop(peer);
    let (reports, _received) = mpsc::channel(8);
    let link = start(pbx(PbxKind::Asterisk, &address), reports);
    let mut watched = link.watched();
    let state = watched.wait_for(|state| state.last_error.is_some()).await.unwrap().clone();
    let error = state.last_error.unwrap();
    assert!(error.contains(&address) && error.contains("is the PBX running"), "{error}");
    assert_eq!((state.connected_since, state.events), (None, 0));
}

#[tokio::test]
async fn dropping_the_link_ends_its_task_and_with_it_the_reports() {
    let peer = Peer::new(|_, _| Answer::Last(String::new())).await;
    let (reports, mut received) = mpsc::channel(8);
    drop(start(pbx(PbxKind::Asterisk, &peer.address()), reports));
    let ended = tokio::time::timeout(Duration::from_secs(5), received.recv()).await.unwrap();
    assert_eq!(ended, None);
}
