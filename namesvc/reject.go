package namesvc

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// RejectCode says why an op was not accepted. The numbers are frozen: they are
// hashed into block results and appear in receipts.
type RejectCode uint32

// The codes. New ones are added at the end.
const (
	Accepted           RejectCode = 0
	Malformed          RejectCode = 1
	WrongChain         RejectCode = 2
	Expired            RejectCode = 3
	TooFarAhead        RejectCode = 4
	BadSignature       RejectCode = 5
	UnknownAccount     RejectCode = 6
	AccountExists      RejectCode = 7
	WrongSequence      RejectCode = 8
	WrongPrevious      RejectCode = 9
	NotAllowed         RejectCode = 10
	KeyExpired         RejectCode = 11
	OverQuota          RejectCode = 12
	BadHandle          RejectCode = 13
	HandleTooShort     RejectCode = 14
	HandleTaken        RejectCode = 15
	HandleConfusable   RejectCode = 16
	HandleRetired      RejectCode = 17
	TooManyHandles     RejectCode = 18
	NotYourHandle      RejectCode = 19
	NoCommit           RejectCode = 20
	CommitTooYoung     RejectCode = 21
	CommitTooOld       RejectCode = 22
	CommitExists       RejectCode = 23
	CommitUsed         RejectCode = 24
	StaleCheckpoint    RejectCode = 25
	NotEnoughWork      RejectCode = 26
	BadPayment         RejectCode = 27
	BadGenesis         RejectCode = 28
	BadRecords         RejectCode = 29
	UnknownService     RejectCode = 30
	AcceptanceRequired RejectCode = 31
	BadAcceptance      RejectCode = 32
	BadDevices         RejectCode = 33
	DeviceRemoved      RejectCode = 34
	BadConsent         RejectCode = 35
	BadRoots           RejectCode = 36
	RootOutranked      RejectCode = 37
	BadNextRoot        RejectCode = 38
	AlreadyPending     RejectCode = 39
	NothingPending     RejectCode = 40
	NotSettled         RejectCode = 41
	UnknownRules       RejectCode = 42
	NotOperator        RejectCode = 43
	BadOffer           RejectCode = 44
	BadPossession      RejectCode = 45
	ValidatorTaken     RejectCode = 46
	TooFewValidators   RejectCode = 47
	BadVote            RejectCode = 48
	UnknownCandidate   RejectCode = 49
	TooManyVotes       RejectCode = 50
	BadSponsor         RejectCode = 51
	UnknownSponsor     RejectCode = 52
	SponsorSpent       RejectCode = 53
	BadTicket          RejectCode = 54

	lastReject = BadTicket
)

// rejectRow is what other layers need to know of a code.
type rejectRow struct {
	name string
	kind wire.Code
	text string
}

// rejects is indexed by RejectCode.
var rejects = [...]rejectRow{
	Accepted:           {"accepted", 0, "accepted"},
	Malformed:          {"malformed", wire.Invalid, "the bytes are no well-formed op"},
	WrongChain:         {"wrong-chain", wire.Invalid, "the op is for another chain"},
	Expired:            {"expired", wire.Stale, "the op's expiry height has passed; sign it again"},
	TooFarAhead:        {"too-far-ahead", wire.Invalid, "the op's expiry lies too far ahead"},
	BadSignature:       {"bad-signature", wire.Unauthorized, "the signature does not verify"},
	UnknownAccount:     {"unknown-account", wire.NotFound, "the account is not on this chain"},
	AccountExists:      {"account-exists", wire.Exists, "the account is on this chain already"},
	WrongSequence:      {"wrong-sequence", wire.Conflict, "the sequence is not the account's next; read the entry and sign again"},
	WrongPrevious:      {"wrong-previous", wire.Conflict, "the previous op is not the account's last; read the entry and sign again"},
	NotAllowed:         {"not-allowed", wire.Unauthorized, "this key may not do that"},
	KeyExpired:         {"key-expired", wire.Unauthorized, "the device key has expired; extend or replace it with a root key"},
	OverQuota:          {"over-quota", wire.Exhausted, "the account has used up its ops for now"},
	BadHandle:          {"bad-handle", wire.Invalid, "the handle is against the rules"},
	HandleTooShort:     {"handle-too-short", wire.Invalid, "handles this short cannot be registered on this chain"},
	HandleTaken:        {"handle-taken", wire.Exists, "the handle is taken"},
	HandleConfusable:   {"handle-confusable", wire.Exists, "the handle is too like one that is taken"},
	HandleRetired:      {"handle-retired", wire.Exists, "the handle was given up and rests before it can be registered again"},
	TooManyHandles:     {"too-many-handles", wire.Exhausted, "the account has all the handles it may have"},
	NotYourHandle:      {"not-your-handle", wire.Unauthorized, "the account does not hold that handle"},
	NoCommit:           {"no-commit", wire.Invalid, "no commit announces this registration; commit first"},
	CommitTooYoung:     {"commit-too-young", wire.Unavailable, "the commit is in this very block; reveal in the next"},
	CommitTooOld:       {"commit-too-old", wire.Stale, "the commit was not revealed in time; commit again"},
	CommitExists:       {"commit-exists", wire.Exists, "the commit was made already"},
	CommitUsed:         {"commit-used", wire.Exists, "the commit was revealed already"},
	StaleCheckpoint:    {"stale-checkpoint", wire.Stale, "the payment is bound to a checkpoint that is unknown or too old; make it again"},
	NotEnoughWork:      {"not-enough-work", wire.Exhausted, "the commit does not carry enough work; work again"},
	BadPayment:         {"bad-payment", wire.Invalid, "this kind of payment is not accepted"},
	BadGenesis:         {"bad-genesis", wire.Invalid, "the genesis op is not the account's"},
	BadRecords:         {"bad-records", wire.Invalid, "the records are against the rules"},
	UnknownService:     {"unknown-service", wire.NotFound, "there is no such concierge"},
	AcceptanceRequired: {"acceptance-required", wire.Unauthorized, "the concierge serves only accounts it has accepted; ask it for an acceptance"},
	BadAcceptance:      {"bad-acceptance", wire.Unauthorized, "the concierge did not sign this acceptance"},
	BadDevices:         {"bad-devices", wire.Invalid, "the device list is against the rules"},
	DeviceRemoved:      {"device-removed", wire.Invalid, "a removed device key never returns; make a new one"},
	BadConsent:         {"bad-consent", wire.Unauthorized, "a new device did not sign its consent"},
	BadRoots:           {"bad-roots", wire.Invalid, "the root keys are against the rules"},
	RootOutranked:      {"root-outranked", wire.Unauthorized, "a root key may only change those below it"},
	BadNextRoot:        {"bad-next-root", wire.Unauthorized, "a new first root key must be the one announced, and announce another"},
	AlreadyPending:     {"already-pending", wire.Conflict, "another change is waiting; cancel it or let it pass"},
	NothingPending:     {"nothing-pending", wire.NotFound, "no such change is waiting"},
	NotSettled:         {"not-settled", wire.Invalid, "the account has no device or no concierge yet; set them first"},
	UnknownRules:       {"unknown-rules", wire.Internal, "this rule set is unknown"},
	NotOperator:        {"not-operator", wire.Unauthorized, "the account operates no validator"},
	BadOffer:           {"bad-offer", wire.Invalid, "the offer to run a validator is against the rules"},
	BadPossession:      {"bad-possession", wire.Unauthorized, "the validator's key did not sign its possession for this account and chain"},
	ValidatorTaken:     {"validator-taken", wire.Exists, "another account operates the validator of this key"},
	TooFewValidators:   {"too-few-validators", wire.Conflict, "too few validators would be left; the others can vote for it"},
	BadVote:            {"bad-vote", wire.Invalid, "the vote is against the rules"},
	UnknownCandidate:   {"unknown-candidate", wire.NotFound, "the account neither operates a validator nor offers to"},
	TooManyVotes:       {"too-many-votes", wire.Exhausted, "the operator has all the votes standing that it may have; withdraw one"},
	BadSponsor:         {"bad-sponsor", wire.Invalid, "what the sponsor declares is against the rules"},
	UnknownSponsor:     {"unknown-sponsor", wire.NotFound, "the account sponsors nobody: it has declared no key for tickets"},
	SponsorSpent:       {"sponsor-spent", wire.Exhausted, "the sponsor has paid for all that it may today; try again tomorrow, or work instead"},
	BadTicket:          {"bad-ticket", wire.Unauthorized, "the sponsor did not sign this ticket, or has another key now; get a new one, or work instead"},
}

func (c RejectCode) row() rejectRow {
	if c > lastReject {
		return rejectRow{fmt.Sprintf("reject-%d", uint32(c)), wire.Invalid, "rejected for a reason this program does not know"}
	}
	return rejects[c]
}

// String returns the code's name.
func (c RejectCode) String() string { return c.row().name }

// Kind returns the kind of error that the code is at a boundary.
func (c RejectCode) Kind() wire.Code { return c.row().kind }

// Reject is a rejected op. Its Detail is for people and no part of consensus.
type Reject struct {
	Code   RejectCode
	Detail string
}

func (r *Reject) Error() string {
	if r.Detail == "" {
		return r.Code.row().text
	}
	return r.Code.row().text + ": " + r.Detail
}

func reject(c RejectCode, format string, args ...any) error {
	return &Reject{Code: c, Detail: fmt.Sprintf(format, args...)}
}
