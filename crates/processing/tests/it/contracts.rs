//! Each implementation keeps the contract of its trait.

use std::sync::Arc;

use wavequill_kernel::ContentHash;
use wavequill_processing::testing::conformance;
use wavequill_processing::{
    AdmissionConfig, ConcurrencyLimit, FileRunJournal, JournalIdentity, LatencyModel, OrchestratorConfig,
    ParallelOrchestrator, SampleRate, SeamTimestampAdjuster, SlownessAdmission,
};

use crate::resuming::MemoryStore;
use crate::support::{admission, minutes, orchestrator, rate};

#[tokio::test(start_paused = true)]
async fn slowness_admission_keeps_its_contract() {
    for limit in [1, 8, 64] {
        conformance::admission(&*admission(limit)).await;
    }
    let grows = AdmissionConfig { max: ConcurrencyLimit::new(100).unwrap(), ..AdmissionConfig::default() };
    conformance::admission(&SlownessAdmission::new(grows, LatencyModel::default())).await;
}

#[tokio::test(start_paused = true)]
async fn parallel_orchestrator_keeps_its_contract() {
    for limit in [1, 3, 16] {
        conformance::orchestrator(&orchestrator(limit), usize::from(limit), rate()).await;
        let hedging = ParallelOrchestrator::new(OrchestratorConfig::fastest(), admission(limit)).unwrap();
        conformance::orchestrator(&hedging, usize::from(limit), rate()).await;
    }
}

#[test]
fn seam_timestamp_adjuster_keeps_its_contract() {
    for hertz in [8_000, 16_000, 22_050, 44_100, 48_000] {
        conformance::timestamp_adjuster(&SeamTimestampAdjuster::new(), SampleRate::new(hertz).unwrap());
        conformance::timestamp_adjuster(
            &Arc::new(SeamTimestampAdjuster::new()),
            SampleRate::new(hertz).unwrap(),
        );
    }
}

#[tokio::test]
async fn file_run_journal_keeps_its_contract_also_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.wqj");
    let identity =
        JournalIdentity { recording: ContentHash::new([1; 32], 1), request: ContentHash::new([2; 32], 2) };
    let journal = FileRunJournal::open(&path, identity).await.unwrap();
    conformance::run_journal(&journal).await.unwrap();
    drop(journal);
    let journal = FileRunJournal::open(&path, identity).await.unwrap();
    conformance::reopened_journal(&journal).await.unwrap();
}

#[tokio::test]
async fn a_store_in_memory_keeps_the_contract_of_stores() {
    conformance::transcript_store(&MemoryStore::default(), &minutes(5)).await.unwrap();
}
