//! What a generation is made of: a document created once, which claims the generation's number.

use recstore_core::{EntityKind, Namespace, Result, Timestamp};
use serde::{Deserialize, Serialize};

use crate::lake::bronze::object::{ClaimId, Identity};
use crate::lake::bronze::reader::{BronzeObject, Gap};
use crate::lake::documents::{DocumentRef, open_json, seal_json};
use crate::lake::head::{Tombstone, TombstoneKey};
use crate::lake::keys::run_name;
use crate::lake::store::{Created, LakeStore, NewObject};

/// The version of the stored form.
const FORMAT: u32 = 1;
/// The most bytes of a manifest: some hundred for each of a million objects.
const MAX_MANIFEST_BYTES: u64 = 512 << 20;

/// Why a generation was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Purpose {
    /// New events came in.
    Events,
    /// The statistics were computed anew from the ratings.
    Rebuild,
    /// An entity was erased.
    Erasure {
        /// User or item.
        kind: EntityKind,
        /// The keyed hash of its id.
        key: TombstoneKey,
        /// What is left of it.
        tombstone: Tombstone,
    },
}

/// What a generation is made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    format: u32,
    /// The generation; it comes after the one before, which was committed when it was planned.
    pub generation: u64,
    /// When it was claimed, by the clock of the one that claimed it.
    pub created_at: Timestamp,
    /// Every event acknowledged before this time is in it.
    pub as_of: Timestamp,
    /// Why it was made.
    pub purpose: Purpose,
    /// The objects of rating events that were read, each once.
    pub inputs: Vec<BronzeObject>,
    /// The objects of rows of custom groups that were read, each once.
    pub feature_inputs: Vec<BronzeObject>,
    /// Holes in the numbers of events: what lies behind them is not in it.
    pub gaps: Vec<Gap>,
    /// How many lines were no events.
    pub rejected: u64,
    /// These lines, with reasons.
    pub quarantine: Option<DocumentRef>,
    /// The files that it consists of.
    pub commit: DocumentRef,
}

impl Manifest {
    /// A manifest of the present form.
    #[expect(clippy::too_many_arguments, reason = "each is a field")]
    pub(crate) fn new(
        generation: u64,
        (created_at, as_of): (Timestamp, Timestamp),
        purpose: Purpose,
        (inputs, feature_inputs): (Vec<BronzeObject>, Vec<BronzeObject>),
        gaps: Vec<Gap>,
        rejected: u64,
        quarantine: Option<DocumentRef>,
        commit: DocumentRef,
    ) -> Manifest {
        let format = FORMAT;
        Manifest {
            format,
            generation,
            created_at,
            as_of,
            purpose,
            inputs,
            feature_inputs,
            gaps,
            rejected,
            quarantine,
            commit,
        }
    }

    /// Claims the generation: whether this manifest is the one that stands now.
    ///
    /// # Errors
    /// Those of the object store; `OutcomeUnknown` if it may stand, or may yet: the next run finds out.
    pub(crate) async fn claim(
        &self,
        store: &LakeStore,
        namespace: &Namespace,
        claim: ClaimId,
    ) -> Result<bool> {
        let name = run_name(namespace, self.generation);
        let body = seal_json(self, &name)?;
        let identity = Identity::new(claim, &body);
        let mut attributes: object_store::Attributes = identity.metadata().collect();
        attributes.insert(object_store::Attribute::ContentType, "application/json".into());
        let object = NewObject { name: &name, body: &body, attributes: &attributes, identity: &identity };
        match store.create(&object).await {
            Created::Ours => Ok(true),
            Created::Foreign => Ok(false),
            Created::NotStored(error) => Err(error),
            Created::Unknown(error) => {
                let text = "the generation may be claimed, or may be yet; the next run finds out";
                Err(recstore_core::Error::new(recstore_core::ErrorKind::OutcomeUnknown, text)
                    .on(name.clone())
                    .because(error))
            }
        }
    }

    /// The manifest of a generation; `None` if it was not claimed.
    ///
    /// # Errors
    /// `Corrupt`, `SchemaVersion`; those of the object store.
    pub async fn read(store: &LakeStore, namespace: &Namespace, generation: u64) -> Result<Option<Manifest>> {
        let name = run_name(namespace, generation);
        let Some((body, _)) = store.read_version(&name, MAX_MANIFEST_BYTES, None).await? else {
            return Ok(None);
        };
        let manifest: Manifest = open_json(&body, FORMAT, &name)?;
        if manifest.generation != generation {
            return Err(
                crate::lake::bronze::object::corrupt("the manifest is of another generation").on(name)
            );
        }
        Ok(Some(manifest))
    }

    /// How many events the objects hold.
    pub fn events(&self) -> u64 {
        self.inputs.iter().map(|object| object.key.events()).sum()
    }
}
