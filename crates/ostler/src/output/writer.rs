//! Writes in a thread of its own what is to be seen, for a terminal that was stopped (Ctrl-S) or a pager that does not read
//! blocks whoever writes to it, and the one thread that does the work must renew leases and answer servers meanwhile.
//!
//! Lines wait in memory until they are read; those that say how far something has come are left out when the reader is slow. Live
//! lines are drawn here from what was said last. A place that nobody reads any more (`| head`) swallows what is still to come.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use rustix::event::{PollFd, PollFlags, poll};
use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Write},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::sync::Notify;

/// Where a line goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Output,
    /// Standard error.
    Error,
}

/// Bytes in waiting beyond which a reader is slow, so that progress is left out.
const SLOW: usize = 1 << 20;
/// Bytes in waiting beyond which even lines are left out.
const FULL: usize = 64 << 20;
/// Bytes that are taken from the queue at once.
const CHUNK: usize = 64 << 10;

/// The queue of a thread that writes. Clones are the same one.
#[derive(Clone)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Live lines are drawn.
    live: bool,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Something is to be done.
    wake: Condvar,
    /// Something was done: for who waits in a thread, and for who waits in a task.
    done: Condvar,
    done_task: Notify,
}

#[derive(Default)]
struct Queue {
    lines: VecDeque<(Stream, String)>,
    /// Lines that wait for the end of a question.
    held: Vec<(Stream, String)>,
    /// Of both.
    bytes: usize,
    left_out: usize,
    closed: Closed,
    asking: bool,
    live: Live,
    /// The thread is at something.
    busy: bool,
}

/// What nobody reads any more.
#[derive(Clone, Copy, Default)]
struct Closed {
    output: bool,
    error: bool,
}

/// What is to be drawn.
#[derive(Default)]
struct Live {
    /// How often it moves, while it is wanted.
    tick: Option<Duration>,
    /// Its clock begins anew.
    renewed: bool,
    message: Option<String>,
    style: Option<ProgressStyle>,
    /// Whether the thread has it on the screen.
    shown: bool,
}

/// What the thread does in one go.
struct Turn {
    lines: Vec<(Stream, String)>,
    left_out: usize,
    live: bool,
    renewed: bool,
    message: Option<String>,
    style: Option<ProgressStyle>,
}

impl Writer {
    /// Over these places; `live`: the second one is a terminal that live lines are drawn on.
    pub fn start(output: Option<File>, error: Option<File>, live: bool) -> Self {
        let shared = Arc::new(Shared {
            queue: Mutex::default(),
            wake: Condvar::new(),
            done: Condvar::new(),
            done_task: Notify::new(),
        });
        let of_thread = Arc::clone(&shared);
        let thread = move || of_thread.run(Screen { output, error, bar: live.then(bar), shown: false });
        std::thread::Builder::new().name("output".into()).spawn(thread).expect("a thread that writes");
        Self { shared, live }
    }

    /// Writes it in its turn; `progress`: it may be left out.
    pub fn write(&self, stream: Stream, text: String, progress: bool) {
        let mut queue = self.shared.queue();
        if queue.closed.has(stream) || (progress && queue.bytes + text.len() > SLOW) {
            return;
        }
        if queue.bytes + text.len() > FULL {
            queue.left_out += text.lines().count();
            return;
        }
        queue.bytes += text.len();
        if queue.asking {
            queue.held.push((stream, text));
        } else {
            queue.lines.push_back((stream, text));
        }
        self.shared.wake.notify_one();
    }

    /// How the live lines look.
    pub fn set_style(&self, style: ProgressStyle) {
        self.shared.queue().live.style = Some(style);
    }

    /// What the live line says from its next move on; it is begun if it was not.
    pub fn set_message(&self, message: String, tick: Duration) {
        if !self.live {
            return;
        }
        let mut queue = self.shared.queue();
        queue.live.message = Some(message);
        if queue.live.tick.is_none() {
            queue.live.tick = Some(tick);
            self.shared.wake.notify_one();
        }
    }

    /// Shows the live lines, their clock begins anew; `None` takes them away.
    pub fn set_live(&self, tick: Option<Duration>) {
        if !self.live {
            return;
        }
        let mut queue = self.shared.queue();
        (queue.live.tick, queue.live.renewed) = (tick, tick.is_some());
        self.shared.wake.notify_one();
    }

    /// While somebody asks, nothing is written that comes from now on.
    pub fn set_asking(&self, asking: bool) {
        let mut queue = self.shared.queue();
        queue.asking = asking;
        if !asking {
            let held = std::mem::take(&mut queue.held);
            queue.lines.extend(held);
            queue.live.renewed = true;
        }
        self.shared.wake.notify_one();
    }

    /// Waits, in this thread, until the place is free for a question.
    pub fn wait_quiet(&self) {
        let mut queue = self.shared.queue();
        while !queue.is_written() || queue.live.shown {
            queue = self.shared.done.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Returns once everything is written, or nobody reads it any more.
    pub async fn written(&self) {
        loop {
            let done = self.shared.done_task.notified();
            if self.shared.queue().is_written() {
                return;
            }
            done.await;
        }
    }

    /// Whether somebody still reads.
    pub fn is_read(&self, stream: Stream) -> bool {
        !self.shared.queue().closed.has(stream)
    }
}

impl Closed {
    fn has(self, stream: Stream) -> bool {
        match stream {
            Stream::Output => self.output,
            Stream::Error => self.error,
        }
    }

    fn set(&mut self, stream: Stream) {
        match stream {
            Stream::Output => self.output = true,
            Stream::Error => self.error = true,
        }
    }
}

impl Queue {
    /// Whether nothing waits but what waits for the end of a question.
    fn is_written(&self) -> bool {
        self.lines.is_empty() && !self.busy && (self.wants_live() || !self.live.shown)
    }

    fn wants_live(&self) -> bool {
        self.live.tick.is_some() && !self.asking
    }

    fn has_work(&self) -> bool {
        !self.lines.is_empty() || self.wants_live() != self.live.shown || (self.wants_live() && self.live.renewed)
    }

    fn take(&mut self) -> Turn {
        let mut lines = Vec::new();
        let mut taken = 0;
        while taken < CHUNK
            && let Some((stream, text)) = self.lines.pop_front()
        {
            taken += text.len();
            lines.push((stream, text));
        }
        let left_out = if self.lines.is_empty() { std::mem::take(&mut self.left_out) } else { 0 };
        let live = self.wants_live();
        Turn {
            lines,
            left_out,
            live,
            renewed: live && std::mem::take(&mut self.live.renewed),
            message: self.live.message.take(),
            style: self.live.style.take(),
        }
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the thread does, for as long as the process lives.
    fn run(&self, mut screen: Screen) {
        let mut closed = Closed::default();
        loop {
            let turn = self.next();
            let bytes: usize = turn.lines.iter().map(|(_, text)| text.len()).sum();
            let shown = screen.show(turn, &mut closed);
            let mut queue = self.queue();
            queue.bytes -= bytes;
            queue.live.shown = shown;
            queue.closed = closed;
            if closed.output || closed.error {
                let gone: usize =
                    queue.lines.iter().filter(|(to, _)| closed.has(*to)).map(|(_, text)| text.len()).sum();
                queue.lines.retain(|(to, _)| !closed.has(*to));
                queue.bytes -= gone;
            }
            queue.busy = false;
            drop(queue);
            self.done.notify_all();
            self.done_task.notify_waiters();
        }
    }

    /// Waits until there is something to do.
    fn next(&self) -> Turn {
        let mut queue = self.queue();
        loop {
            if queue.has_work() {
                break;
            }
            queue = match queue.live.tick.filter(|_| queue.wants_live()) {
                None => self.wake.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some(tick) => {
                    let (queue, timeout) = self.wake.wait_timeout(queue, tick).unwrap_or_else(PoisonError::into_inner);
                    if timeout.timed_out() {
                        let mut queue = queue;
                        queue.busy = true;
                        return queue.take();
                    }
                    queue
                }
            };
        }
        queue.busy = true;
        queue.take()
    }
}

/// What the thread writes on.
struct Screen {
    output: Option<File>,
    error: Option<File>,
    /// The live lines, where there is a terminal for them.
    bar: Option<ProgressBar>,
    /// They are there now.
    shown: bool,
}

fn bar() -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.set_style(ProgressStyle::with_template("{spinner} {wide_msg} {elapsed_precise}").expect("a constant template"));
    bar
}

impl Screen {
    /// Returns whether the live lines are there now.
    fn show(&mut self, turn: Turn, closed: &mut Closed) -> bool {
        let (output, error) = (&self.output, &self.error);
        let write = |closed: &mut Closed| {
            for (stream, text) in &turn.lines {
                let file = if *stream == Stream::Output { output } else { error };
                if !closed.has(*stream) && write_all(file.as_ref(), text.as_bytes()).is_err() {
                    closed.set(*stream);
                }
            }
            if turn.left_out > 0 && !closed.error {
                let note = format!(
                    "warning: {} lines are left out, because nobody read them in time; `ostler logs NAME --all` has the events\n",
                    turn.left_out
                );
                let _ = write_all(error.as_ref(), note.as_bytes()); // then nobody reads this one either
            }
        };
        let Some(bar) = &self.bar else {
            write(closed);
            return false;
        };
        if let Some(style) = turn.style {
            bar.set_style(style);
        }
        if let Some(message) = turn.message {
            bar.set_message(message);
        }
        if self.shown && !turn.live {
            bar.finish_and_clear();
            self.shown = false;
        }
        match self.shown && !turn.lines.is_empty() {
            true => bar.suspend(|| write(closed)),
            false => write(closed),
        }
        if turn.live {
            if turn.renewed || !self.shown {
                bar.reset();
            }
            bar.tick();
            self.shown = true;
        }
        self.shown
    }
}

/// Writes all of it, also where somebody else has made the place non-blocking.
fn write_all(file: Option<&File>, mut bytes: &[u8]) -> io::Result<()> {
    let Some(mut file) = file else { return Err(io::ErrorKind::BrokenPipe.into()) };
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let _ = poll(&mut [PollFd::new(file, PollFlags::OUT)], None); // the next try tells
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
