use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn clock() -> VirtualClock {
    VirtualClock::new("2030-01-01T00:00:00Z".parse().unwrap())
}

fn after(clock: &VirtualClock, seconds: u64) -> Timestamp {
    clock.now() + Duration::from_secs(seconds)
}

/// Seconds since the start.
fn elapsed(clock: &VirtualClock) -> i64 {
    let start: Timestamp = "2030-01-01T00:00:00Z".parse().unwrap();
    clock.now().duration_since(start).as_secs()
}

#[tokio::test]
async fn advancing_stops_at_every_deadline_on_the_way() {
    let clock = clock();
    let seen: Arc<Mutex<Vec<i64>>> = Arc::default();
    let ticker = tokio::spawn({
        let (clock, seen) = (clock.clone(), seen.clone());
        async move {
            loop {
                clock.sleep_until(after(&clock, 2)).await;
                seen.lock().unwrap().push(elapsed(&clock));
            }
        }
    });
    clock.advance(7 * SECOND).await;
    assert_eq!(*seen.lock().unwrap(), [2, 4, 6]);
    assert_eq!(elapsed(&clock), 7);
    ticker.abort();
}

#[tokio::test]
async fn sleepers_wake_in_the_order_of_their_deadlines() {
    let clock = clock();
    let seen: Arc<Mutex<Vec<u64>>> = Arc::default();
    for seconds in [5, 1, 3] {
        let (sleep, seen) = (clock.sleep_until(after(&clock, seconds)), seen.clone());
        tokio::spawn(async move {
            sleep.await;
            seen.lock().unwrap().push(seconds);
        });
    }
    clock.settle().await;
    clock.jump(10 * SECOND);
    clock.settle().await;
    assert_eq!(*seen.lock().unwrap(), [1, 3, 5]);
}

#[tokio::test]
async fn thirty_days_pass_at_once_when_nobody_works() {
    let clock = clock();
    let month = 30 * 24 * 3600;
    clock.run(clock.sleep_until(after(&clock, month))).await;
    assert_eq!(elapsed(&clock), i64::try_from(month).unwrap());
}

#[tokio::test]
async fn time_waits_for_whoever_is_busy() {
    let clock = clock();
    let (release, released) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn({
        let clock = clock.clone();
        async move {
            let busy = clock.busy();
            released.await.unwrap();
            let now = elapsed(&clock);
            drop(busy);
            now
        }
    });
    let driver = tokio::spawn(clock.auto());
    let sleeper = tokio::spawn(clock.sleep_until(after(&clock, 60)));
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(elapsed(&clock), 0);
    release.send(()).unwrap();
    assert_eq!(worker.await.unwrap(), 0, "not before the work is done");
    sleeper.await.unwrap();
    assert_eq!(elapsed(&clock), 60);
    driver.abort();
}

#[tokio::test]
async fn hand_overs_without_a_guard_are_seen_through() {
    let clock = clock();
    let (first, mut receiver) = tokio::sync::mpsc::channel::<()>(1);
    for _ in 0..20 {
        let (sender, next) = tokio::sync::mpsc::channel(1);
        tokio::spawn(async move {
            while let Some(()) = receiver.recv().await {
                sender.send(()).await.unwrap();
            }
        });
        receiver = next;
    }
    let arrived = clock
        .run(async {
            let wake = clock.sleep_until(after(&clock, 1));
            let _later = clock.sleep_until(after(&clock, 2));
            wake.await;
            first.send(()).await.unwrap();
            receiver.recv().await.unwrap();
            elapsed(&clock)
        })
        .await;
    assert_eq!(arrived, 1);
}

#[tokio::test]
async fn a_branch_left_unpolled_does_not_stop_time() {
    let clock = clock();
    clock
        .run(async {
            let mut left = clock.sleep_until(after(&clock, 1));
            assert!(futures::poll!(&mut left).is_pending());
            clock.sleep_until(after(&clock, 5)).await;
            left.await;
        })
        .await;
    assert_eq!(elapsed(&clock), 5);
}

#[tokio::test]
async fn dropped_sleepers_are_forgotten() {
    let clock = clock();
    let mut sleep = clock.sleep_until(after(&clock, 1));
    assert_eq!(clock.next_deadline(), Some(after(&clock, 1)), "it counts before it is polled");
    assert!(futures::poll!(&mut sleep).is_pending());
    drop(sleep);
    assert_eq!(clock.next_deadline(), None);
    clock.sleep_until(clock.now()).await;
}

#[tokio::test]
async fn a_driver_with_an_end_stops_there() {
    let clock = clock();
    let ticker = tokio::spawn({
        let clock = clock.clone();
        async move {
            loop {
                clock.sleep_until(after(&clock, 10)).await;
            }
        }
    });
    clock.settle().await;
    clock.auto_until(after(&clock, 35)).await;
    assert_eq!(elapsed(&clock), 30);
    ticker.abort();
}

#[tokio::test]
async fn time_never_goes_back() {
    let clock = clock();
    clock.jump(5 * SECOND);
    clock.advance(Duration::ZERO).await;
    assert_eq!(elapsed(&clock), 5);
    clock.jump(Duration::MAX);
    assert_eq!(clock.now(), Timestamp::MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guarded_work_holds_time_on_several_threads_too() {
    let clock = clock();
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    let worker = tokio::spawn({
        let clock = clock.clone();
        async move {
            while let Some((sent, busy)) = receiver.recv().await {
                for _ in 0..2_000 {
                    tokio::task::yield_now().await;
                }
                assert_eq!(elapsed(&clock), sent, "time went on although work was under way");
                drop::<Busy>(busy);
            }
        }
    });
    clock
        .run(async {
            for _ in 0..20 {
                sender.send((elapsed(&clock), clock.busy())).unwrap();
                clock.sleep_until(after(&clock, 10)).await;
            }
        })
        .await;
    drop(sender);
    worker.await.unwrap();
    assert_eq!(elapsed(&clock), 200);
}
