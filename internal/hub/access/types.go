// Package access decides who may do what, on which patient, from which workstation, and proves it afterwards: every
// decision of Engine.Decide is on disk in the audit log before it takes effect. It also signs people in.
//
// It hides Cedar (the policies are default.cedar, or a file of the hospital's own), password hashing, session tokens,
// API keys and throttling. It guarantees: what no policy permits is refused, a forbid wins over every permit, a policy
// that cannot be evaluated refuses, and so does a decision that cannot be audited; a Grant can be made by an Engine
// only, expires, and its zero value allows nothing; tokens and keys are stored only as SHA-256, passwords only as
// argon2id; a session is worth nothing at another workstation. An Engine is safe for concurrent use and starts no
// goroutine.
//
// It does not protect against a hub whose memory is read, nor against a workstation used by someone else while its
// owner is signed in (the idle limit bounds that), and it trusts its caller for the workstation: that must be the
// identity proven by the inner TLS. Filter is not audited one by one; opening what it lists is.
package access

import (
	"context"
	"errors"
	"strconv"
	"time"

	"vitalseal/internal/shared/audit"
)

// Role is what a person is in the hospital. A person has exactly one. The zero Role may do nothing.
type Role string

// The closed set of roles; default.cedar says what each may do.
const (
	RolePatient Role = "patient" // sees only itself
	RoleNurse   Role = "nurse"   // sees the patients of her wards
	RoleDoctor  Role = "doctor"  // sees the patients he treats
	RoleStaff   Role = "staff"   // beds and devices, no clinical values
	RoleAuditor Role = "auditor" // reads the audit log
	RoleAdmin   Role = "admin"   // directory and identities, no clinical values
)

// Roles are all roles in a fixed order.
func Roles() []Role {
	return []Role{RolePatient, RoleNurse, RoleDoctor, RoleStaff, RoleAuditor, RoleAdmin}
}

// Valid reports whether r is one of the named roles.
func (r Role) Valid() bool {
	switch r {
	case RolePatient, RoleNurse, RoleDoctor, RoleStaff, RoleAuditor, RoleAdmin:
		return true
	}
	return false
}

// Person is someone who may sign in, with the relationships that policies refer to. Relationships that do not belong
// to the role are ignored by the default policies (a nurse's Patients, a doctor's Wards).
type Person struct {
	ID          string
	Login       string
	DisplayName string
	Role        Role
	Wards       []string // ids of the wards a nurse is on
	Patients    []string // ids of the patients a doctor treats
	Self        string   // a patient's own patient id
	Disabled    bool     // may not sign in, and every decision is a refusal
	// MustChangePassword says that the password was made by another person: nothing but changing it is allowed.
	MustChangePassword bool
	// Created is when the person was made, and Changed when another person last changed the role, the relationships or the
	// means to sign in; zero: before this was noted (20c4590 and older). They are a Directory's to keep.
	Created, Changed time.Time
}

// PatientRef is a patient as policies and lists see one: no name, no values. Ward and Bed are empty when not admitted.
type PatientRef struct {
	ID, Ward, Bed string
	// Excluded are the ids of the persons whom the patient does not let see the values. It does not hide the bed.
	Excluded []string
}

// ChannelRef is a channel as policies see one. Patient is empty for a free channel, which holds no patient's values.
type ChannelRef struct {
	ID      int64
	Patient string
	Owner   string // who made a free channel with a key; empty: an administrator did
	Public  bool   // a free channel that may be read without a key
}

// APIKey lets a program read or write one channel in the name of a person, or use one TalkBack, or, as the key of the
// person's account, manage the free channels that the person made. Only the key's SHA-256 is stored.
type APIKey struct {
	Hash     [32]byte
	PersonID string
	Channel  int64 // 0: none
	Write    bool  // false: may only read; true: may only write, and only a free channel
	TalkBack int64 // 0: none
}

// Account reports whether k is the key of a person's account: for no channel and no TalkBack.
func (k APIKey) Account() bool { return k.Channel == 0 && k.TalkBack == 0 }

// Directory is what access needs to know about people, patients and channels; package store implements it. Every
// method returns ErrNotFound (wrapped or not) for what does not exist. It must be safe for concurrent use.
type Directory interface {
	Person(ctx context.Context, id string) (Person, error)
	Patient(ctx context.Context, id string) (PatientRef, error)
	Patients(ctx context.Context) ([]PatientRef, error)
	ChannelRef(ctx context.Context, id int64) (ChannelRef, error)
	// TalkBackOwner is the id of the person whose queue of commands it is.
	TalkBackOwner(ctx context.Context, id int64) (string, error)

	Emergencies
	Secrets
}

// Subject is who asks, and from where. It comes from package signin or Display; a Subject made by
// hand is no more than a question, because Decide looks the person up again.
type Subject struct {
	Person         Person
	Workstation    string // SPIFFE id proven by the inner TLS; without one every decision is a refusal
	Session        string // id of the sign-in; empty for API keys and displays
	SessionStarted time.Time
	SecondFactor   bool      // signed in with one
	Proven         time.Time // when the person last proved who they are, by signing in or by a step-up
	Key            *APIKey   // set when an API key speaks for the person: narrows what may be done to that key's channel
	// Wards are those that a display workstation shows. Only without a Person.
	Wards []string
	// Anonymous is a program without a key at a workstation: what is public is all it sees. Only without a Person.
	Anonymous bool
}

// isDisplay reports whether a wall screen asks, without a person.
func (s Subject) isDisplay() bool { return s.Person.ID == "" && len(s.Wards) > 0 }

// isAnonymous reports whether a program without a key asks.
func (s Subject) isAnonymous() bool {
	return s.Anonymous && s.Person.ID == "" && s.Key == nil && len(s.Wards) == 0
}

// AuditEntry is an entry of the audit log, for the faces that show it.
type AuditEntry = audit.Entry

// Action is what is asked for. The zero Action is always refused.
type Action string

// The closed set of actions. Those marked "dangerous" need a fresh proof of identity (Service.StepUp of package signin).
const (
	ViewPatient      Action = "patient:view"        // vitals, trends, waveform, name: on a patient
	BreakGlass       Action = "patient:break-glass" // open a patient in an emergency; dangerous
	ManageConsent    Action = "consent:manage"      // exclude a person from seeing: on a patient; dangerous
	ViewAccesses     Action = "patient:accesses"    // who opened the patient in an emergency: on a patient
	ConfirmPatient   Action = "patient:confirm"     // say whether a sensor that was silent for long is still on the patient: on a patient
	ListBeds         Action = "bed:list"            // beds and who lies there, no values: on the system, a ward or a patient
	ViewDisplay      Action = "display:view"        // numerics without a name, on a wall screen: on a patient
	ViewChannel      Action = "channel:read"        // on a channel; a patient's channel follows ViewPatient
	WriteChannel     Action = "channel:write"       // on a free channel
	ManageChannel    Action = "channel:manage"      // settings, keys, clearing, deleting: on a free channel
	ForwardChannel   Action = "channel:forward"     // have a channel forwarded to a cloud, or approve that: on a channel; dangerous
	CreateChannel    Action = "channel:create"      // a free channel or a TalkBack of one's own: on the system
	ListChannels     Action = "channel:list"        // public channels, and those of one's own: on the system
	UseTalkBack      Action = "talkback:use"        // queue, read and take commands: on a TalkBack
	ManageOwnKeys    Action = "key:manage"          // make and delete one's own API keys: on a channel, or the system for that of one's account; dangerous
	ManageDirectory  Action = "directory:manage"    // wards, beds, patients, channels, lists of persons: on the system
	ManagePeople     Action = "people:manage"       // persons, their roles, relationships, passwords: on the system; dangerous
	ManageIdentities Action = "identity:manage"     // enrolment and state of devices and workstations: on the system; dangerous
	ViewAudit        Action = "audit:read"          // on the system
	ReviewAccess     Action = "access:review"       // judge emergency accesses: on the system
	GiveApproval     Action = "approval:give"       // approve or refuse what another person asks for: on the system; dangerous
	ReadApprovals    Action = "approval:read"       // see what waits for approval, and take back one's own requests: on the system
	ExplainPolicy    Action = "policy:explain"      // ask why a person may or may not: on the system
	ViewDelivery     Action = "delivery:read"       // delivery counts and latencies, the inventory: on the system
	MoveSensor       Action = "sensor:move"         // take a sensor from a bed or put it at one: on the ward of each
	MoveReadings     Action = "readings:move"       // say that a span of readings was another patient's: on both patients, on the system for readings of no patient; dangerous
	AppendVitals     Action = "vitals:append"       // only ever granted to an engine of the hub (Standing)
	DialService      Action = "service:dial"        // of components, on a service of the overlay
	BindService      Action = "service:bind"        // of components, on a service of the overlay
)

// Actions are all actions of persons, displays and engines in a fixed order.
func Actions() []Action {
	return []Action{ViewPatient, BreakGlass, ManageConsent, ViewAccesses, ListBeds, ViewDisplay, ViewChannel, WriteChannel,
		ManageChannel, ForwardChannel, CreateChannel, ListChannels, UseTalkBack, ManageOwnKeys, ManageDirectory, ManagePeople, ManageIdentities, ViewAudit, ReviewAccess,
		GiveApproval, ReadApprovals, ExplainPolicy, ViewDelivery, MoveSensor, MoveReadings, ConfirmPatient, AppendVitals}
}

// Resource is what is asked about.
type Resource struct {
	Kind string // one of the Kind constants
	ID   string // empty for the system
}

// The kinds of Resource.
const (
	KindPatient  = "patient"
	KindWard     = "ward"
	KindChannel  = "channel"
	KindTalkBack = "talkback"
	KindSystem   = "system"
	KindService  = "service"
)

// OnPatient is the resource for a patient id.
func OnPatient(id string) Resource { return Resource{KindPatient, id} }

// OnWard is the resource for a ward id.
func OnWard(id string) Resource { return Resource{KindWard, id} }

// OnChannel is the resource for a channel number.
func OnChannel(id int64) Resource { return Resource{KindChannel, strconv.FormatInt(id, 10)} }

// OnTalkBack is the resource for a TalkBack's number.
func OnTalkBack(id int64) Resource { return Resource{KindTalkBack, strconv.FormatInt(id, 10)} }

// OnSystem is the resource for what belongs to no patient, ward or channel.
func OnSystem() Resource { return Resource{Kind: KindSystem} }

// String is "kind:id", as in the audit log.
func (r Resource) String() string {
	if r.ID == "" {
		return r.Kind
	}
	return r.Kind + ":" + r.ID
}

var (
	// ErrNotFound is what a Directory answers for what does not exist.
	ErrNotFound = errors.New("access: not found")
	// ErrDenied is what every refusal is (errors.Is); the error itself is a *Denied.
	ErrDenied = errors.New("access: denied")
	// ErrNoSession is the one answer to every token or key that does not lead to a person here and now.
	ErrNoSession = errors.New("access: not signed in")
	// ErrStepUp is a refusal for want of nothing but a fresh proof of identity (errors.Is; the error is a *Denied too).
	ErrStepUp = errors.New("access: fresh proof of identity needed")
	// ErrInvalid means an argument that cannot be; the message names it and what is allowed.
	ErrInvalid = errors.New("access: invalid")
)

// Denied is a refusal. Its text is fixed: the details are for the audit log and an administrator, not for the client.
type Denied struct {
	Action   Action
	Resource Resource
	Policies []string // ids of the forbidding policies; empty when no policy permitted
	Reason   string   // fixed vocabulary
	StepUp   bool     // a fresh proof of identity is all that is missing
}

// policyRisk is the built-in policy that stops administration after many failures.
const policyRisk = "risk-too-high"

// Paused reports whether nothing but recent failures of this person at this workstation stands against the request: it will be allowed
// once they are forgotten, ten minutes after the last one at most, or at once after a change of the password.
func (d *Denied) Paused() bool { return len(d.Policies) == 1 && d.Policies[0] == policyRisk }

// Error is fixed text.
func (d *Denied) Error() string { return ErrDenied.Error() }

// Is makes errors.Is(err, ErrDenied) true, and errors.Is(err, ErrStepUp) if that is all that is missing.
func (d *Denied) Is(target error) bool { return target == ErrDenied || d.StepUp && target == ErrStepUp }
