// Package weaken names the defences that a separate test build can take away one at a time, so that
// `vitalseal attack` can show that each attack would succeed without the defence that stops it.
//
// It hides the build tag. It guarantees that the product has no such switch: no package of the
// product imports it, there is no Skip without the tag `weaken`, and a test looks into the built
// binary for any trace. The weakened build is made of copies of the sources (package mutate): in
// them the defences named in an environment variable are off, and nothing else is. It protects
// nothing itself, and a binary built with the tag must never see a patient.
package weaken

// Defence is one defence that can be taken away. Its text is its name on the command line and in
// reports.
type Defence string

// None is the absence of a control: nothing in this program could be taken away to let the attack
// through.
const None Defence = ""

// The defences, by where they stand.
const (
	// At the workstation.
	HostName      Defence = "host-name"       // a loopback address answers only to its own name
	OwnPages      Defence = "own-pages"       // requests that another page caused are refused
	LaunchSecret  Defence = "launch-secret"   // only who has the launch secret speaks to the loopback address
	PeerUser      Defence = "peer-user"       // only the user who started it is answered
	LegacyPushOut Defence = "legacy-push-out" // connections that show no key make room for newer ones
	ClientBound   Defence = "client-bound"    // connections to the loopback address are bounded

	// At the faces.
	StrictJSON   Defence = "strict-json"   // unknown fields are refused
	BodyBound    Defence = "body-bound"    // bodies are bounded
	HeaderTime   Defence = "header-time"   // a request's header must come in time
	BodyTime     Defence = "body-time"     // the whole of a request must come in time
	NoInflating  Defence = "no-inflating"  // bodies are never decompressed
	RequestRate  Defence = "request-rate"  // requests of one workstation are bounded
	Quotas       Defence = "quotas"        // what one person or workstation stores is bounded
	Urgent       Defence = "urgent"        // revocations are written before all else
	BulkTurns    Defence = "bulk-turns"    // a bulk update is stored in pieces, apart from the directory
	SafeMarkup   Defence = "safe-markup"   // answers are no page: media type, nosniff, content security policy
	KnownFiles   Defence = "known-files"   // only embedded files are served
	BoundQueries Defence = "bound-queries" // values reach the database as parameters
	StationBound Defence = "station-bound" // connections of one workstation are bounded
	QuietLog     Defence = "quiet-log"     // no secret reaches a log

	// Sessions.
	TokenSignature Defence = "token-signature" // access tokens are verified
	TokenClaims    Defence = "token-claims"    // who a token is for and when
	TokenStation   Defence = "token-station"   // tokens are bound to their workstation
	RefreshOnce    Defence = "refresh-once"    // a used refresh token ends its session
	FreshSession   Defence = "fresh-session"   // signing in makes a new session
	Throttle       Defence = "throttle"        // failures slow down
	SameAnswer     Defence = "same-answer"     // every failed sign-in looks the same
	SignOutEnds    Defence = "sign-out-ends"   // signing out ends the session at the hub
	LiveRecheck    Defence = "live-recheck"    // live views are asked again
	FirstViews     Defence = "first-views"     // each workstation has its first live views for itself
	LiveBound      Defence = "live-bound"      // live views of one session are bounded
	FutureProof    Defence = "future-proof"    // a proof of the future proves nothing
	FactorSwap     Defence = "factor-swap"     // what a code's use changes is written only over what was read
	PasswordSwap   Defence = "password-swap"   // a password replaces, and lets in for, the one that it was shown for
	ProofOnce      Defence = "proof-once"      // a one-time code counts once
	SecondFactor   Defence = "second-factor"   // a second factor is asked for
	AuthTime       Defence = "auth-time"       // a provider's sign-in of some time ago is no proof of now
	ClaimsOnce     Defence = "claims-once"     // a claim that stands twice is refused
	PasskeyPage    Defence = "passkey-page"    // a passkey counts for the page that it was shown to
	CountsTogether Defence = "counts-together" // failures count over all workstations
	SprayCount     Defence = "spray-count"     // one password tried on many persons is noticed
	OwnCounts      Defence = "own-counts"      // a step-up is not counted with the sign-ins
	OwnKeys        Defence = "own-keys"        // an API key is compared

	// MQTT.
	DevicePassword Defence = "device-password" // a device's password is compared
	DeviceRights   Defence = "device-rights"   // a device does what it has a right to
	TopicNames     Defence = "topic-names"     // only ThingSpeak's topics, no wildcards
	NoWill         Defence = "no-will"         // a last will is refused
	NoRetain       Defence = "no-retain"       // an entry is told once, to who listens then
	PacketBound    Defence = "packet-bound"    // packets are bounded
	PoisonDrop     Defence = "poison-drop"     // a message that is refused for good is acknowledged, so that it is not sent first for ever
	MQTTClients    Defence = "mqtt-clients"    // MQTT connections of one workstation are bounded

	// Decisions.
	Policy       Defence = "policy"        // the policies decide
	TwoPersons   Defence = "two-persons"   // what gives access to patients waits for a second person
	SecondPerson Defence = "second-person" // the approver is another person, of another duty, and was there before the request
	OneLogin     Defence = "one-login"     // a patient has one login
	WholeAct     Defence = "whole-act"     // an act that was begun goes on when its client leaves
	GlassRate    Defence = "glass-rate"    // a person opens few different patients in emergencies within an hour
	WardHistory  Defence = "ward-history"  // a move of readings looks at where both patients were, not only where they are
	PolicyStrict Defence = "policy-strict" // a policy file is taken whole or not at all

	// The overlay.
	PeerChain     Defence = "peer-chain"     // a peer's certificate is of our own authority
	PeerKind      Defence = "peer-kind"      // only a hub answers, only whom it is for is served
	TLSFloor      Defence = "tls-floor"      // nothing older than TLS 1.3 with ML-KEM
	ServiceName   Defence = "service-name"   // a connection is for one service
	OwnName       Defence = "own-name"       // a peer is what its certificate says, never the caller id
	TicketOnce    Defence = "ticket-once"    // a ticket counts once
	Revocation    Defence = "revocation"     // a disabled identity is cut and stays out
	Drift         Defence = "drift"          // the overlay is put right
	Network       Defence = "network"        // there is an overlay: else plain TCP
	OverlayBodies Defence = "overlay-bodies" // bodies that reach the overlay's controller are bounded
	RecoverTrace  Defence = "recover-trace"  // letting in again offline is in the audit log before it is done
	InnerTLS      Defence = "inner-tls"      // connections are encrypted end to end: else names are only said

	// Chunks.
	SealTag          Defence = "seal-tag"          // what was changed does not open
	SealHeader       Defence = "seal-header"       // a chunk is bound to its stream, epoch, number and time
	SealSensor       Defence = "seal-sensor"       // a chunk is bound to its sensor
	SealChunks       Defence = "seal-chunks"       // chunks are encrypted
	Dedupe           Defence = "dedupe"            // a chunk is stored once
	EpochOrder       Defence = "epoch-order"       // epochs only go forward
	DuplicateContent Defence = "duplicate-content" // what comes again is compared with what is stored
	StartOrder       Defence = "start-order"       // the newest start of a gateway delivers, after a hub's restart too
	EpochJump        Defence = "epoch-jump"        // numbers stay within what a gateway can count to
	OneConnection    Defence = "one-connection"    // an identity has one connection
	FrameBound       Defence = "frame-bound"       // frames are bounded
	OneSource        Defence = "one-source"        // of several sensors the one that measures counts
	AssertedMark     Defence = "asserted-mark"     // what a legacy device says is asserted, whatever it claims
	FieldNames       Defence = "field-names"       // a legacy device's field means nothing until it is named
	Plausible        Defence = "plausible"         // what no chip can mean is no reading
	Clock            Defence = "clock"             // implausible times are refused

	// What lies on disk.
	SealStored Defence = "seal-stored" // names and readings are sealed at rest
	AuditTree  Defence = "audit-tree"  // entries are what was signed
	AuditSign  Defence = "audit-sign"  // checkpoints are signed
	Witness    Defence = "witness"     // a later log must contain the earlier one
	LogOwner   Defence = "log-owner"   // a log belongs to one hub, and is shown under no other's name
	Gossip     Defence = "gossip"      // witnesses compare what they saw of a log
	GrantCheck Defence = "grant-check" // what is stored opens only against a grant

	// ShowUnstored shows live what a full disk does not take.
	ShowUnstored Defence = "show-unstored"
)

// Several says how often a defence is marked in the product's sources, where that is not once: it
// stands in several places.
var Several = map[Defence]int{
	ClientBound:  3,
	NoRetain:     2,
	PoisonDrop:   2,
	PeerChain:    4,
	PeerKind:     4,
	ServiceName:  3,
	OwnName:      4,
	Revocation:   4,
	InnerTLS:     2,
	SealHeader:   2,
	SealSensor:   2,
	EpochOrder:   2,
	StartOrder:   2,
	EpochJump:    3,
	Plausible:    6,
	Clock:        2,
	AuditTree:    3,
	Witness:      3,
	LogOwner:     3,
	Gossip:       4,
	Quotas:       4,
	Policy:       2,
	GlassRate:    2,
	PolicyStrict: 3,
	RefreshOnce:  2,
	PasswordSwap: 2,
	FreshSession: 2,
	LiveRecheck:  2,
	OwnPages:     3,
	OwnKeys:      3,
	StrictJSON:   2,
}
