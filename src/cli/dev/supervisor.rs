//! Starts the nodes, says what becomes of them, and stops them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::process::Signal;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::TaskTracker;

use super::child::{Child, Ended};
use super::control::{self, Asked, Reply, Request};
use super::place::Place;
use super::ports;
use crate::cli::ask::http_client;
use crate::cli::endpoint::{no_such_node, shipped_dev};
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::cli::survey::{Survey, ailment, survey};
use crate::config::{Config, Env, NodeConfig};
use crate::http::{Address, HttpClient};
use crate::types::Role;

/// Between two looks at a cluster that starts.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// How long the last nodes may take to be well once the cluster serves.
const STRAGGLERS_PATIENCE: Duration = Duration::from_secs(1);

/// After which a cluster that does not serve is shown as it is.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// How long one node may take to be well after it was started.
const NODE_PATIENCE: Duration = Duration::from_secs(5);

/// How long nodes may take to end in good order.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// How long the nodes of one role may take before the next role is told to stop.
const STAGE_PATIENCE: Duration = Duration::from_millis(2_500);

/// How long the kernel may take to end a process that was killed.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Those who take work stop first, those who keep it last: nothing is cut off that was begun.
const STOP_ORDER: [Role; 4] = [Role::Client, Role::Proposer, Role::Learner, Role::Acceptor];

/// Lines of its log that are shown when a node ends unasked.
const LAST_WORDS: usize = 5;

/// Room for the ends of all nodes at once.
const ENDS_MAX: usize = 99;

/// A cluster of child processes.
struct Supervisor {
    place: Place,
    config: Config,
    colour: bool,
    /// The latest process of each node that was started.
    children: BTreeMap<String, Child>,
    /// Processes that we were told to end.
    doomed: BTreeSet<u32>,
    ended: mpsc::Sender<Ended>,
    client: HttpClient,
    tasks: TaskTracker,
}

/// Why the supervisor stops.
enum Stop {
    Signal,
    Order(oneshot::Sender<Reply>),
    /// All nodes ended before they served.
    Failed,
}

/// Runs the nodes `names` of `config` at `place`, which is claimed, until a signal or an order.
pub(super) async fn run(
    place: Place,
    config: Config,
    names: Vec<String>,
    colour: bool,
) -> Result<(), Failure> {
    let mut signals = Signals::new()?;
    let tasks = TaskTracker::new();
    let (orders, asked) = mpsc::channel(control::ORDERS_MAX);
    let serving = tokio::spawn(control::serve(control::listen(&place)?, orders, tasks.clone()));
    let (ended, ends) = mpsc::channel(ENDS_MAX);
    let (children, doomed) = (BTreeMap::new(), BTreeSet::new());
    let client = http_client();
    let mut supervisor =
        Supervisor { place, config, colour, children, doomed, ended, client, tasks };

    let outcome = match supervisor.start_all(&names) {
        Ok(()) => Ok(supervisor.watch(&mut signals, asked, ends).await),
        Err(failure) => Err(failure),
    };
    let survivors = supervisor.stop_all(&mut signals).await;
    control::close(&supervisor.place);
    let stopped = if survivors.is_empty() {
        Reply::done("all nodes are stopped; their data stays")
    } else {
        Reply::refused(format!("killed, for they did not stop in time: {}", survivors.join(", ")))
    };
    say(&stopped.text);
    let ended = match outcome {
        Ok(Stop::Signal) if stopped.done => Ok(()),
        Ok(Stop::Signal) => Err(Failure::new(Exit::Error, stopped.text)),
        Ok(Stop::Order(reply)) => {
            drop(reply.send(stopped));
            Ok(())
        }
        Ok(Stop::Failed) => Err(Failure::new(Exit::Error, "every node ended at once")
            .hint(format!("their logs are in {}", supervisor.place.shown_logs()))),
        Err(failure) => Err(failure),
    };
    serving.abort();
    supervisor.tasks.close();
    // The replies are under way; whoever does not read them is not waited for.
    drop(timeout(Duration::from_secs(1), supervisor.tasks.wait()).await);
    ended
}

impl Supervisor {
    fn start_all(&mut self, names: &[String]) -> Result<(), Failure> {
        say(&format!(
            "starting {} of {} nodes; data in {}, logs in {}",
            names.len(),
            self.config.nodes.len(),
            self.place.shown(),
            self.place.shown_logs()
        ));
        names.iter().try_for_each(|name| {
            self.spawn(name).map(drop).map_err(|text| Failure::new(Exit::Error, text))
        })
    }

    fn spawn(&mut self, name: &str) -> Result<Child, String> {
        let child =
            Child::start(name, &self.place, self.ended.clone(), &self.tasks).map_err(|error| {
                let log = self.place.log_file(name);
                format!("cannot start {name} with its log {}: {error}", log.display())
            })?;
        self.children.insert(name.to_owned(), child.clone());
        Ok(child)
    }

    /// Watches over the nodes until there is a reason to stop.
    async fn watch(
        &mut self,
        signals: &mut Signals,
        mut asked: mpsc::Receiver<Asked>,
        mut ends: mpsc::Receiver<Ended>,
    ) -> Stop {
        let started = Instant::now();
        let (client, config) = (self.client.clone(), self.config.clone());
        let mut begun = std::pin::pin!(first_service(&client, &config, self.children.len()));
        let mut is_begun = false;
        loop {
            tokio::select! {
                () = signals.next() => return Stop::Signal,
                Some((request, reply)) = asked.recv() => match request {
                    Request::StopAll => return Stop::Order(reply),
                    Request::Start { node } => self.start(&node, reply),
                    Request::Kill { node } => self.kill(&node, reply),
                    Request::Stop { node } => self.stop(&node, reply),
                    Request::Status => drop(reply.send(Reply::done(self.processes()))),
                },
                Some(end) = ends.recv() => {
                    self.on_end(&end);
                    if !is_begun && self.children.is_empty() {
                        return Stop::Failed;
                    }
                }
                survey = &mut begun, if !is_begun => {
                    is_begun = true;
                    say(&self.welcome(&survey, started.elapsed()));
                }
            }
        }
    }

    fn on_end(&mut self, end: &Ended) {
        let Ended { name, pid, status } = end;
        // It may have been started again since.
        if self.children.get(name).is_some_and(|child| child.pid == *pid) {
            self.children.remove(name);
            // Left behind, it names a process that is gone.
            drop(fs::remove_file(self.place.pid_file(name)));
        }
        if self.doomed.remove(pid) {
            return say(&format!("{name} (pid {pid}) is down, as told: {status}"));
        }
        let mut text = format!("{name} (pid {pid}) is down: {status}");
        for line in self.place.last_words(name, LAST_WORDS) {
            text = format!("{text}\n    {line}");
        }
        let flag = self.place.flag();
        say(&format!("{text}\n  start it again with `paxosd dev start {name}{flag}`"));
    }

    fn start(&mut self, name: &str, reply: oneshot::Sender<Reply>) {
        match self.begin(name) {
            Ok((child, node)) => {
                say(&format!("{name} (pid {}) is started", child.pid));
                let (client, place) = (self.client.clone(), self.place.clone());
                self.tasks.spawn(async move {
                    drop(reply.send(first_health(&client, &node, &child, &place).await));
                });
            }
            Err(refusal) => drop(reply.send(refusal)),
        }
    }

    fn begin(&mut self, name: &str) -> Result<(Child, NodeConfig), Reply> {
        let Some(node) = self.config.named(name).cloned() else {
            return Err(Reply::refused(no_such_node(&self.config, name)));
        };
        if let Some(child) = self.running(name) {
            return Err(Reply::done(format!("{name} runs already (pid {})", child.pid)));
        }
        let taken = ports::taken([&node]);
        if !taken.is_empty() {
            return Err(Reply::refused(format!("taken by another process: {}", taken.join(", "))));
        }
        let child = self.spawn(name).map_err(Reply::refused)?;
        Ok((child, node))
    }

    fn kill(&mut self, name: &str, reply: oneshot::Sender<Reply>) {
        let child = match self.doom(name) {
            Ok(child) => child,
            Err(refusal) => return drop(reply.send(refusal)),
        };
        child.signal(Signal::KILL);
        self.tasks.spawn(async move {
            child.end().await;
            let text = format!("{} (pid {}) is killed", child.name, child.pid);
            drop(reply.send(Reply::done(text)));
        });
    }

    fn stop(&mut self, name: &str, reply: oneshot::Sender<Reply>) {
        let child = match self.doom(name) {
            Ok(child) => child,
            Err(refusal) => return drop(reply.send(refusal)),
        };
        ask_to_stop(&child);
        self.tasks.spawn(async move {
            let said = format!("{} (pid {})", child.name, child.pid);
            let in_time = timeout(STOP_PATIENCE, child.end()).await.is_ok();
            if !in_time {
                child.signal(Signal::KILL);
                child.end().await;
            }
            drop(reply.send(if in_time {
                Reply::done(format!("{said} is stopped"))
            } else {
                Reply::refused(format!("{said} did not stop in time, and was killed"))
            }));
        });
    }

    /// The process of `name`, which is to end.
    fn doom(&mut self, name: &str) -> Result<Child, Reply> {
        if self.config.named(name).is_none() {
            return Err(Reply::refused(no_such_node(&self.config, name)));
        }
        let child = self.running(name).cloned();
        let child = child.ok_or_else(|| Reply::refused(format!("{name} does not run")))?;
        self.doomed.insert(child.pid);
        Ok(child)
    }

    fn running(&self, name: &str) -> Option<&Child> {
        self.children.get(name).filter(|child| child.runs())
    }

    /// The list of the processes.
    fn processes(&self) -> String {
        let mut table = output::Table::new(["NAME", "PID", "LOG"]);
        for node in &self.config.nodes {
            let pid = self.running(&node.name).map(|child| u64::from(child.pid));
            let log = self.place.log_file(&node.name).display().to_string();
            table.row([node.name.as_str().into(), output::Cell::number(pid), log.into()]);
        }
        table.render(false)
    }

    /// Stops all nodes, in good order where they heed it, and gives the names of those that did
    /// not. A signal meanwhile cuts the patience short.
    async fn stop_all(&mut self, signals: &mut Signals) -> Vec<String> {
        let running: Vec<Child> =
            self.children.values().filter(|child| child.runs()).cloned().collect();
        if !running.is_empty() {
            say(&format!("stopping {} nodes", running.len()));
        }
        tokio::select! {
            () = stop_in_order(&running, &self.config) => {}
            () = signals.next() => {}
        }
        let survivors: Vec<&Child> = running.iter().filter(|child| child.runs()).collect();
        for child in &survivors {
            child.signal(Signal::KILL);
        }
        let deadline = Instant::now() + KILL_PATIENCE;
        for child in &survivors {
            drop(timeout_at(deadline, child.end()).await);
        }
        for child in self.children.values() {
            drop(fs::remove_file(self.place.pid_file(&child.name)));
        }
        survivors.into_iter().map(|child| child.name.clone()).collect()
    }

    /// What is shown when the cluster serves, or should have.
    fn welcome(&self, survey: &Survey, after: Duration) -> String {
        let flag = self.place.flag();
        // The verbs find the shipped nodes by themselves.
        let is_shipped = shipped_dev().is_ok_and(|shipped| shipped.nodes == self.config.nodes);
        let config = if is_shipped {
            String::new()
        } else {
            format!(" --config {}", self.place.config_file().display())
        };
        let begun = if survey.serves() {
            format!("serving after {:.1} s", after.as_secs_f64())
        } else {
            format!("not serving after {:.0} s; here is how it stands", after.as_secs_f64())
        };
        let mut text =
            format!("{begun}\n{}\n\n{}\n", survey.headline(self.colour), survey.table(self.colour));
        let url = |role, port: fn(&NodeConfig) -> u16| {
            self.config
                .with_role(role)
                .next()
                .map(|node| format!("http://{}", Address::new(&node.host, port(node))))
        };
        if let Some(client) = url(Role::Client, |node| node.api_port) {
            let header = "-H 'Content-Type: application/json'";
            text = format!(
                "{text}\n  send  curl -s {client}/send {header} -d '{{\"value\":\"hello\"}}'\
                 \n  read  curl -s {client}/read"
            );
        }
        if let Some(monitor) = url(Role::Proposer, |node| node.monitor_port) {
            text = format!("{text}\n  look  curl -s '{monitor}/view-logs?limit=10'");
        }
        format!(
            "{text}\n\nwithout curl: paxosd send hello{config}; paxosd read{config}; \
             paxosd status{config}\
             \nto play with failures: paxosd dev kill NAME{flag}; paxosd dev start NAME{flag}\
             \nCtrl-C stops all nodes; their data stays"
        )
    }
}

/// Tells a node to stop, also one that was frozen.
fn ask_to_stop(child: &Child) {
    child.signal(Signal::TERM);
    child.signal(Signal::CONT);
}

/// Tells the nodes to stop, role by role, and waits for them.
async fn stop_in_order(running: &[Child], config: &Config) {
    let deadline = Instant::now() + STOP_PATIENCE;
    for role in STOP_ORDER {
        let is_of_role =
            |child: &&Child| config.named(&child.name).is_some_and(|node| node.role == role);
        let stage: Vec<&Child> = running.iter().filter(is_of_role).collect();
        for child in &stage {
            ask_to_stop(child);
        }
        let patience = (Instant::now() + STAGE_PATIENCE).min(deadline);
        for child in stage {
            // Whoever is late delays the next role no longer, and is waited for at the end.
            drop(timeout_at(patience, child.end()).await);
        }
    }
    for child in running {
        drop(timeout_at(deadline, child.end()).await);
    }
}

/// The cluster as soon as it serves and the `started` nodes are well, or when patience ends.
async fn first_service(client: &HttpClient, config: &Config, started: usize) -> Survey {
    let deadline = Instant::now() + START_PATIENCE;
    let mut last_call = deadline;
    loop {
        // Every node of a development cluster is at the loopback, whatever the environment says.
        let survey = survey(client, config, &Env::new()).await;
        let now = Instant::now();
        if survey.serves() {
            last_call = last_call.min(now + STRAGGLERS_PATIENCE);
        }
        if now >= last_call || (survey.serves() && survey.well() >= started) {
            return survey;
        }
        sleep(LOOK_INTERVAL).await;
    }
}

/// Waits until `node`, whose process is `child`, is well.
async fn first_health(
    client: &HttpClient,
    node: &NodeConfig,
    child: &Child,
    place: &Place,
) -> Reply {
    let monitor = Address::new(&node.host, node.monitor_port);
    let well = async {
        loop {
            match client.get(&monitor, "/health", NODE_PATIENCE).await {
                Ok(reply) if ailment(&reply).is_none() => return,
                Ok(_) | Err(_) => sleep(LOOK_INTERVAL).await,
            }
        }
    };
    let said = format!("{} (pid {})", node.name, child.pid);
    tokio::select! {
        () = well => Reply::done(format!("{said} runs")),
        _ = child.end() => {
            let mut text = format!("{said} ended at once");
            for line in place.last_words(&node.name, LAST_WORDS) {
                text = format!("{text}\n    {line}");
            }
            Reply::refused(text)
        }
        () = sleep(NODE_PATIENCE) => Reply::done(format!("{said} runs, and is not well yet")),
    }
}

/// Says it to whoever looks on. The cluster goes on when nobody does.
fn say(text: &str) {
    drop(output::line(text));
}

/// The two signals that mean: stop.
struct Signals {
    interrupt: unix::Signal,
    terminate: unix::Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen =
            |kind| unix::signal(kind).map_err(|error| Failure::io("listen for signals", &error));
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    /// Waits for the next of either.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
