//! One recording from its bytes to its transcript: look up, open, plan, run, join, keep.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use wavequill_caching::{Cache, CacheError, CacheKey, ContentAddresser, RequestSpec, Temperature};
use wavequill_kernel::{ContentHash, Ttl};
use wavequill_processing::{
    AudioFile, AudioSource, ChunkPlanner, ConcurrencyLimit, CoverageRules, FileRunJournal, JournalIdentity,
    Orchestrator, ProcessingError, Progress, RecognizingProcessor, RunCosts, RunReport, SpeechRecognizer,
    TaskSource, Transcript, TranscriptAssembler, Warning,
};

use crate::live_run::LiveRun;
use crate::transcript_cache_service::{AUDITED, TranscriptClaim};
use crate::wiring::transcript_store::CachedTranscripts;
use crate::{CacheUse, Gaps, TranscribeOptions, TranscriptCacheService, WavequillError};

/// Files are hashed in pieces of 1 MiB.
const HASH_BLOCK_BYTES: usize = 1 << 20;

/// What the service stands on. Any of it may be the embedder's own.
#[derive(Clone, Debug)]
pub struct ProcessingParts {
    /// Finds pauses and cuts at them.
    pub planner: ChunkPlanner,
    /// Runs the chunks.
    pub orchestrator: Arc<dyn Orchestrator>,
    /// Joins them.
    pub assembler: TranscriptAssembler,
    /// Looks for speech that an answer leaves out; `None`: nobody does.
    pub audit: Option<CoverageRules>,
    /// Turns a chunk into text.
    pub recognizer: Arc<dyn SpeechRecognizer>,
    /// Requests that a plan counts on.
    pub concurrency: ConcurrencyLimit,
    /// Where answers are kept.
    pub keeping: Keeping,
}

/// Where answers are kept, and under which names.
#[derive(Clone, Debug)]
pub struct Keeping {
    /// Keeps the answers to chunks.
    pub cache: Arc<dyn Cache>,
    /// Names what is kept.
    pub addresser: Arc<dyn ContentAddresser>,
    /// Who answers and with which model: the part of the keys that does not depend on one transcription.
    pub request: RequestSpec,
    /// How long answers are kept.
    pub ttl: Ttl,
    /// The folder for the journals of unfinished runs, which outlast a power cut and an outage of the cache. `None`: a run
    /// that is broken off has only what the cache took.
    pub journals: Option<PathBuf>,
}

/// Transcribes recordings, each by many requests side by side.
#[derive(Clone, Debug)]
pub struct ParallelProcessingService {
    parts: ProcessingParts,
    transcripts: TranscriptCacheService,
}

impl ParallelProcessingService {
    /// Puts the parts together.
    pub fn new(parts: ProcessingParts) -> Self {
        let Keeping { cache, addresser, ttl, .. } = &parts.keeping;
        let transcripts = TranscriptCacheService::new(Arc::clone(cache), Arc::clone(addresser), *ttl);
        let transcripts = match parts.audit {
            Some(_) => transcripts.with_post_processing(AUDITED),
            None => transcripts,
        };
        Self { parts, transcripts }
    }

    /// The whole transcripts that are kept.
    pub fn transcripts(&self) -> &TranscriptCacheService {
        &self.transcripts
    }

    /// The key under which the transcript of a recording is kept.
    ///
    /// # Errors
    /// [`WavequillError::InvalidConfig`] if an option makes no key, such as a temperature of 2.
    pub fn key(&self, content: ContentHash, options: &TranscribeOptions) -> Result<CacheKey, WavequillError> {
        Ok(self.transcripts.key(content, &self.request(options)?))
    }

    /// Transcribes one recording, without a job.
    ///
    /// # Errors
    /// As [`Transcription::result`](crate::Transcription::result).
    ///
    /// # Cancellation
    /// Dropping the future drops the requests in flight; what was heard until then is kept.
    pub async fn transcribe(
        &self,
        source: Arc<dyn AudioSource>,
        options: &TranscribeOptions,
    ) -> Result<Arc<Transcript>, WavequillError> {
        self.process(source, options, &LiveRun::new()).await
    }

    /// Transcribes one recording, and shows in `run` how far it is. Ends early, with
    /// [`WavequillError::Cancelled`], if the run is cancelled.
    ///
    /// # Cancellation
    /// Dropping the future drops the requests in flight; what was heard until then is kept.
    pub(crate) async fn process(
        &self,
        source: Arc<dyn AudioSource>,
        options: &TranscribeOptions,
        run: &LiveRun,
    ) -> Result<Arc<Transcript>, WavequillError> {
        let transcript = match options.cache {
            CacheUse::Bypass => Arc::new(self.hear(source, options, run, None).await?),
            CacheUse::Full => {
                let content = self.hash(Arc::clone(&source)).await?;
                let key = self.key(content, options)?;
                self.known_or_new(&key, source, options, run).await?
            }
        };
        if options.gaps == Gaps::Refuse && !transcript.is_complete() {
            return Err(WavequillError::Incomplete { transcript });
        }
        Ok(transcript)
    }

    async fn known_or_new(
        &self,
        key: &CacheKey,
        source: Arc<dyn AudioSource>,
        options: &TranscribeOptions,
        run: &LiveRun,
    ) -> Result<Arc<Transcript>, WavequillError> {
        let permit = match self.transcripts.claim(key).await? {
            TranscriptClaim::Make(permit) => permit,
            TranscriptClaim::Known(known) => {
                run.show(all_known(&known));
                let mut known = Arc::unwrap_or_clone(known);
                (known.reused, known.costs) = (known.duration(), RunCosts::default());
                return Ok(Arc::new(known));
            }
        };
        let journal = self.journal(key).await?;
        let mut transcript = match self.hear(source, options, run, journal.clone()).await {
            Ok(transcript) => transcript,
            // Whoever waits goes on where this one stopped.
            Err(error @ (WavequillError::Cancelled | WavequillError::ShutDown)) => return Err(error),
            Err(error) => {
                permit.fail(CacheError::load_failed(error.clone()));
                return Err(error);
            }
        };
        if transcript.is_complete() {
            match self.transcripts.fill(permit, &transcript).await {
                Ok(()) => drop_journal(journal),
                // It is paid, and here: who asked gets it. What was heard is in the journal.
                Err(error) => {
                    tracing::warn!(target: "wavequill", %error, "a transcript could not be kept");
                    transcript.warnings.push(format!("the transcript could not be kept: {error}"));
                }
            }
        }
        Ok(Arc::new(transcript))
    }

    /// Where this recording's chunks are kept until the whole of it is.
    async fn journal(&self, key: &CacheKey) -> Result<Option<Arc<FileRunJournal>>, WavequillError> {
        let Some(folder) = &self.parts.keeping.journals else { return Ok(None) };
        let (start, _) = key.digest().split_first_chunk().unwrap_or((&[0; 16], &[]));
        let name = format!("{:032x}", u128::from_be_bytes(*start));
        let identity = JournalIdentity {
            recording: key.content(),
            request: ContentHash::new(*key.digest(), key.content().len()),
        };
        let journal = FileRunJournal::open(folder.join(name).with_extension("wqj"), identity).await?;
        Ok(Some(Arc::new(journal)))
    }

    async fn hear(
        &self,
        source: Arc<dyn AudioSource>,
        options: &TranscribeOptions,
        run: &LiveRun,
        journal: Option<Arc<FileRunJournal>>,
    ) -> Result<Transcript, WavequillError> {
        let ProcessingParts { planner, recognizer, concurrency, .. } = &self.parts;
        let file = AudioFile::open(source).await?;
        let profile = recognizer.profile();
        let plan = planner.plan(&file, &profile, *concurrency).await?;
        let mut tasks = TaskSource::of_plan(&plan).named(file.name());
        if let Some(journal) = journal {
            tasks = tasks.with_journal(journal);
        }
        let report = self.run(&file, tasks, options, run).await?;
        self.assemble(&file, report)
    }

    async fn run(
        &self,
        file: &AudioFile,
        mut tasks: TaskSource,
        options: &TranscribeOptions,
        run: &LiveRun,
    ) -> Result<RunReport, WavequillError> {
        let ProcessingParts { planner, orchestrator, recognizer, audit, keeping, .. } = &self.parts;
        if options.cache == CacheUse::Full {
            let request = Arc::new(self.request(options)?);
            let Keeping { cache, addresser, ttl, .. } = keeping;
            let store = CachedTranscripts::new(Arc::clone(cache), Arc::clone(addresser), request, *ttl);
            tasks = tasks.with_store(Arc::new(store));
        }
        let mut processor = RecognizingProcessor::new(Arc::clone(recognizer), options.recognition())
            .with_recording(file.clone(), planner.clone());
        if let Some(rules) = audit {
            processor = processor.with_audit(*rules);
        }
        let started = orchestrator.start(tasks, Arc::new(processor));
        let handle = started.handle();
        let mut watch = started.watch();
        run.show(watch.latest());
        let mut finished = std::pin::pin!(started.finish());
        loop {
            tokio::select! {
                report = &mut finished => {
                    run.show(handle.progress());
                    return Ok(report);
                }
                Some(progress) = watch.changed() => run.show(progress),
                () = run.cancelled() => {
                    handle.cancel().await;
                    return Err(WavequillError::Cancelled);
                }
            }
        }
    }

    /// Joins what was heard. What ended the run before its end is an error, and so is a run that heard nothing at all.
    fn assemble(&self, file: &AudioFile, report: RunReport) -> Result<Transcript, WavequillError> {
        if let Some(error) = report.ended_by {
            return Err(error.into());
        }
        let heard = report.results.values().any(|result| result.outcome.is_ok());
        let first_error = report.results.values().find_map(|result| result.outcome.as_ref().err());
        if let Some(error) = first_error.filter(|_| !heard) {
            return Err(error.clone().into());
        }
        let mut transcript = self.parts.assembler.assemble(file.span(), file.rate(), &report)?;
        let odd = |warning: &Warning| format!("at byte {}: {}", warning.offset, warning.what);
        transcript.warnings.extend(file.warnings().iter().map(odd));
        Ok(transcript)
    }

    /// Hashes a recording's bytes on a thread that may block.
    async fn hash(&self, source: Arc<dyn AudioSource>) -> Result<ContentHash, WavequillError> {
        let mut hasher = self.parts.keeping.addresser.hasher();
        let mut hashing = JoinSet::new();
        hashing.spawn_blocking(move || {
            let mut block = vec![0; HASH_BLOCK_BYTES];
            let mut at = 0;
            loop {
                let read = source.read_at(at, &mut block).map_err(|error| ProcessingError::Read {
                    what: source.name(),
                    source: Arc::new(error),
                })?;
                let Some(bytes) = block.get(..read).filter(|bytes| !bytes.is_empty()) else { break };
                hasher.update(bytes);
                at += read as u64;
            }
            source.check_unchanged()?;
            Ok(hasher.finish())
        });
        match hashing.join_next().await {
            Some(Ok(hashed)) => hashed,
            Some(Err(error)) => Err(ProcessingError::Panicked { what: error.to_string() }.into()),
            None => Err(WavequillError::ShutDown),
        }
    }

    fn request(&self, options: &TranscribeOptions) -> Result<RequestSpec, WavequillError> {
        let mut request = self.parts.keeping.request.clone();
        request.language.clone_from(&options.language);
        request.prompt.clone_from(&options.prompt);
        request.temperature = options.temperature.map(Temperature::new).transpose()?;
        Ok(request)
    }
}

/// What the journal holds is elsewhere now.
fn drop_journal(journal: Option<Arc<FileRunJournal>>) {
    let Some(Err(error)) = journal.and_then(Arc::into_inner).map(FileRunJournal::remove) else { return };
    tracing::warn!(target: "wavequill", %error, "a journal that is done with stays behind");
}

/// The progress of a transcript that was there already.
fn all_known(transcript: &Transcript) -> Progress {
    let chunks = transcript.chunks;
    Progress {
        audio_done: transcript.duration(),
        audio_total: transcript.duration(),
        chunks_done: chunks,
        chunks_total: chunks,
        reused: chunks,
        audio_reused: transcript.duration(),
        eta: Some(Duration::ZERO),
        finished: true,
        ..Progress::default()
    }
}
