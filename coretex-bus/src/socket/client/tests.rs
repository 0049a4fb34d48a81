use super::{state::Life, *};

#[tokio::test]
async fn what_cannot_be_sent_is_refused_before_a_connection_is_made() {
    let bus = SocketBus::new(SocketOptions::new("ws://127.0.0.1:1", "w1")).unwrap();
    let kind = |result: Result<(), BusError>| result.unwrap_err().kind();
    let message = |subject: &str| Message::new(subject, BusPacket::default());
    assert_eq!(kind(bus.publish(message("a b")).await), BusErrorKind::Invalid);
    let large = Message::new("sys.job.result", BusPacket { trace_id: "x".repeat(MAX_PACKET), ..Default::default() });
    assert_eq!(kind(bus.publish(large).await), BusErrorKind::Invalid);
    let nameless = bus.subscribe(Subscribe::group("job.a", "")).await;
    assert_eq!(nameless.map(drop).unwrap_err().kind(), BusErrorKind::Invalid);
    assert_eq!(bus.core.life(), Life::Idle);
    bus.close().await.unwrap();
    assert_eq!(kind(bus.publish(message("sys.job.result")).await), BusErrorKind::Closed);
}

#[test]
fn a_key_is_never_printed() {
    let options = SocketOptions::new("ws://127.0.0.1:1", "w1").key("secret");
    assert!(!format!("{options:?}").contains("secret"));
}
