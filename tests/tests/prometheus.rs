//! Prometheus itself accepts, scrapes and answers.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ktm_tests::folder::Folder;
use ktm_tests::recorder::{Recorder, Running};
use ktm_tests::wait::until;
use ktm_tests::work::{Burst, Plan};
use ktm_tests::workload::{Job, Workload};
use ktm_tests::{environment, http};
use serde_json::Value;

const PREADS: u32 = 1234;

/// Where a program of Debian's package `prometheus` is. Without it the test is skipped.
fn find(program: &str) -> Option<PathBuf> {
    let found = environment::find(program);
    if found.is_none() {
        let why = "the package prometheus is not installed (apt-get install prometheus)";
        environment::skip(&format!("asking {program}"), why);
    }
    found
}

/// A recorder with a target that has done some work, where BPF is permitted; without one where not.
fn recorder_at_work(folder: &Folder) -> (Running, Option<Workload>) {
    if let Some(why) = environment::bpf_is_refused() {
        environment::skip("exposing a real process", &why);
        let nobody = ["--target-comm", "no-such-process"];
        return (
            Recorder::new(folder).arguments(nobody).start_and_wait(),
            None,
        );
    }
    let mut target = Job::new(folder, "ktm-scraped").start();
    let pid = target.pid().to_string();
    let recorder = Recorder::new(folder).arguments(["--target-pid", pid.as_str()]);
    let mut running = recorder.start_and_wait();
    running.wait_for_event("the target", |event| event["kind"] == "target_found");
    let preads = vec![Burst {
        calls: PREADS,
        size: 100,
    }];
    target.begin(&Plan {
        preads,
        ..Plan::default()
    });
    target.finish();
    running.sample_now();
    (running, Some(target))
}

#[test]
fn promtool_finds_nothing_wrong_with_the_exposition() {
    let Some(promtool) = find("promtool") else {
        return;
    };
    let folder = Folder::new();
    let (running, _target) = recorder_at_work(&folder);
    let answer = http::ask(running.address(), "/metrics", &[], "text/plain").expect("an answer");
    assert_eq!(answer.status, 200);
    assert!(
        answer.content_type.starts_with("text/plain; version=0.0.4"),
        "{answer:?}"
    );
    let exposition = folder.write("metrics.txt", &answer.body);
    let output = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(File::open(exposition).expect("just written"))
        .output()
        .expect("promtool runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{}", answer.body);
    assert_eq!(said, "", "not even advice");
}

/// A Prometheus server that scrapes one recorder. Killed when dropped.
struct Prometheus {
    child: Child,
    log: PathBuf,
    address: String,
}

impl Prometheus {
    fn start(program: &Path, folder: &Folder, scraped: &str) -> Prometheus {
        let config = format!(
            "global:\n  scrape_interval: 500ms\n\
             scrape_configs:\n- job_name: ktm\n  static_configs:\n  - targets: ['{scraped}']\n"
        );
        let config = folder.write("prometheus.yml", config);
        let address = http::free_address();
        let log = folder.join("prometheus.log");
        let child = Command::new(program)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.join("tsdb").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create_new(&log).expect("a new log"))
            .spawn()
            .expect("prometheus starts");
        Prometheus {
            child,
            log,
            address,
        }
    }

    /// The value of the first series that answers a query, `None` if none does yet.
    fn ask(&self, query: &str) -> Result<f64, String> {
        let answer = http::ask(&self.address, "/api/v1/query", &[("query", query)], "*/*")?;
        let body: Value = serde_json::from_str(&answer.body).map_err(|e| e.to_string())?;
        let value = body["data"]["result"][0]["value"][1].as_str();
        let log = || std::fs::read_to_string(&self.log).unwrap_or_default();
        let value = value.ok_or_else(|| format!("{query}: {body}; {}", log()))?;
        value.parse().map_err(|error| format!("{value}: {error}"))
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // An error means that it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_prometheus_server_scrapes_it_and_answers_queries() {
    let Some(program) = find("prometheus") else {
        return;
    };
    let folder = Folder::new();
    let (running, target) = recorder_at_work(&folder);
    let prometheus = Prometheus::start(&program, &folder, running.address());
    let up = until("a scrape", || {
        prometheus.ask("up{job=\"ktm\"}").and_then(positive)
    });
    assert_eq!(up, 1.0);
    if target.is_none() {
        return;
    }
    let calls = prometheus
        .ask("ktm_sys_pread_latency_seconds_count")
        .expect("scraped");
    assert_eq!(calls, f64::from(PREADS));
    let quantile = "histogram_quantile(1,ktm_sys_pread_latency_seconds_bucket)";
    let longest = prometheus.ask(quantile).expect("buckets make a histogram");
    let sum = prometheus
        .ask("ktm_sys_pread_latency_seconds_sum")
        .expect("scraped");
    assert!(longest > 0.0 && sum > 0.0, "{longest} {sum}");
}

fn positive(value: f64) -> Result<f64, String> {
    if value > 0.0 {
        Ok(value)
    } else {
        Err(format!("it is {value}"))
    }
}
