use super::*;
use crate::logs::testing::Lines;

fn line(number: usize) -> Vec<u8> {
    format!("line {number}\n").into_bytes()
}

/// A sink whose writer is stuck in the write of a first line.
fn stuck(lines: &Lines) -> Arc<Sink> {
    lines.change(|medium| medium.is_stuck = true);
    let sink = lines.sink();
    sink.append(b"first\n");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !sink.shared.lock().pending.is_empty() {
        assert!(Instant::now() < deadline, "the writer does not take the line");
        std::thread::yield_now();
    }
    sink
}

#[test]
fn lines_of_many_threads_come_whole_and_in_the_order_of_each() {
    let lines = Lines::default();
    let sink = lines.sink();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let sink = &sink;
            scope.spawn(move || {
                for number in 0..2_000 {
                    sink.append(format!("{thread} {number}\n").as_bytes());
                }
            });
        }
    });
    let mut next = [0; 8];
    for line in lines.after_close(&sink) {
        let (thread, number) = line.split_once(' ').unwrap();
        let next = &mut next[thread.parse::<usize>().unwrap()];
        assert_eq!(number.parse::<usize>().unwrap(), *next);
        *next += 1;
    }
    assert_eq!(next, [2_000; 8]);
}

#[test]
fn a_single_line_is_written_without_being_asked_for() {
    let lines = Lines::default();
    let sink = lines.sink();
    for number in 1..=3 {
        sink.append(&line(number));
        lines.wait_until(|medium| medium.bytes.ends_with(&line(number)));
    }
}

#[test]
fn a_stuck_reader_costs_lines_and_nothing_else() {
    let lines = Lines::default();
    let sink = stuck(&lines);
    let large = [&[b'x'; (1 << 20) - 1][..], b"\n"].concat();
    for _ in 0..12 {
        sink.append(&large);
    }
    assert_eq!(sink.dropped(), 4);
    assert_eq!(sink.shared.lock().pending.len(), MAX_PENDING_BYTES);
    lines.change(|medium| medium.is_stuck = false);
    lines.wait_until(|medium| medium.bytes.len() >= MAX_PENDING_BYTES);
    sink.append(b"last\n");
    let written = lines.after_close(&sink);
    assert_eq!(written.len(), 1 + 8 + 1);
    assert_eq!(written[9], "last");
    assert_eq!(sink.dropped(), 4);
}

#[test]
fn a_line_larger_than_the_buffer_is_taken() {
    let lines = Lines::default();
    let sink = stuck(&lines);
    let large = [vec![b'x'; MAX_PENDING_BYTES * 2], b"\n".to_vec()].concat();
    sink.append(&large);
    sink.append(b"too much\n");
    assert_eq!(sink.dropped(), 1);
    lines.change(|medium| medium.is_stuck = false);
    assert_eq!(lines.after_close(&sink)[1].len(), MAX_PENDING_BYTES * 2);
}

#[test]
fn dropped_lines_are_reported_at_once_then_seldom_and_at_the_end() {
    let mut state = State {
        pending: Vec::new(),
        wake_at: 0,
        call: Call::default(),
        is_closed: false,
        has_ended: false,
        dropped: Dropped::default(),
    };
    assert!(state.due_report().is_none());
    state.dropped.count(2);
    let report = state.due_report().unwrap();
    assert_eq!((report.since_last, report.total), (2, 2));
    state.dropped.count(3);
    assert!(state.due_report().is_none());
    assert!(state.report_due_in().is_some_and(|time| time > Duration::ZERO));
    state.dropped.reported_at = Instant::now().checked_sub(REPORT_INTERVAL);
    let report = state.due_report().unwrap();
    assert_eq!((report.since_last, report.total), (3, 5));
    assert!(state.report_due_in().is_none());
}

#[test]
fn a_full_disk_tears_no_line_and_loses_none_that_fits_the_buffer() {
    let lines = Lines::default();
    lines.change(|medium| medium.room = 10);
    let sink = lines.sink();
    (1..=5).for_each(|number| sink.append(&line(number)));
    lines.wait_until(|medium| medium.writes > 1 && medium.bytes == line(1));
    lines.change(|medium| medium.room = 1_000);
    lines.wait_until(|medium| medium.bytes.ends_with(&line(5)));
    assert_eq!(lines.after_close(&sink).len(), 5);
    assert_eq!(sink.dropped(), 0);
}

#[test]
fn a_pipe_that_breaks_off_gets_the_rest_of_the_line() {
    let lines = Lines::default();
    lines.change(|medium| (medium.room, medium.is_pipe) = (10, true));
    let sink = lines.sink();
    (1..=5).for_each(|number| sink.append(&line(number)));
    lines.wait_until(|medium| medium.writes > 1 && medium.bytes.len() == 10);
    lines.change(|medium| medium.room = 1_000);
    lines.wait_until(|medium| medium.bytes.ends_with(&line(5)));
    assert_eq!(lines.after_close(&sink).len(), 5);
}

#[test]
fn reopening_is_a_way_out_of_a_full_disk() {
    let lines = Lines::default();
    lines.change(|medium| medium.room = 10);
    let sink = lines.sink();
    (1..=3).for_each(|number| sink.append(&line(number)));
    lines.wait_until(|medium| medium.writes > 1);
    sink.reopen();
    lines.wait_until(|medium| medium.old == [line(1)]);
    assert_eq!(lines.after_close(&sink), ["line 2", "line 3"]);
}

#[test]
fn a_torn_line_that_stays_is_begun_again_in_the_new_file() {
    let lines = Lines::default();
    lines.change(|medium| (medium.room, medium.is_pipe) = (10, true));
    let sink = lines.sink();
    (1..=2).for_each(|number| sink.append(&line(number)));
    lines.wait_until(|medium| medium.writes > 1);
    sink.reopen();
    lines.wait_until(|medium| medium.bytes == line(2));
}

#[test]
fn what_was_appended_before_reopening_goes_to_the_old_file() {
    let lines = Lines::default();
    let sink = lines.sink();
    for number in 1..=50 {
        sink.append(&line(number));
        sink.reopen();
        lines.wait_until(|medium| medium.old.len() == number);
        lines.change(|medium| assert_eq!(medium.old[number - 1], line(number)));
    }
}

#[test]
fn closing_gives_up_a_full_disk_and_counts_what_is_lost() {
    let lines = Lines::default();
    lines.change(|medium| medium.room = 10);
    let sink = lines.sink();
    (1..=5).for_each(|number| sink.append(&line(number)));
    assert_eq!(lines.after_close(&sink), ["line 1"]);
    sink.append(&line(6));
    assert_eq!(sink.dropped(), 5);
}

#[test]
fn closing_leaves_a_stuck_writer_behind() {
    let lines = Lines::default();
    let sink = stuck(&lines);
    sink.close();
    assert!(!sink.wait(Instant::now() + Duration::from_millis(10)));
    lines.change(|medium| medium.is_stuck = false);
    assert_eq!(lines.after_close(&sink), ["first"]);
}
