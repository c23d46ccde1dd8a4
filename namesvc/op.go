package namesvc

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/ticket"
	"github.com/confab-chat/confab/namesvc/wire"
)

// OpKind is what an op does. The numbers are frozen; those from 16 on are
// reserved for recovery, guardians, transfer and subnames (SPEC-names §11).
type OpKind uint8

// The kinds of ops.
const (
	OpCommit   OpKind = 1  // announce a registration, unsigned and paid for
	OpRegister OpKind = 2  // reveal it
	OpRecords  OpKind = 3  // set all records
	OpDevices  OpKind = 4  // set all devices
	OpRoots    OpKind = 5  // set root keys
	OpRenew    OpKind = 6  // show that the account is in use
	OpRelease  OpKind = 7  // give a handle back
	OpCancel   OpKind = 8  // undo a pending change
	OpOperate  OpKind = 9  // offer to run a validator, or stop running one
	OpVote     OpKind = 10 // vote on the validators, the rule set or a sponsor
	OpSponsor  OpKind = 11 // declare the key that signs tickets, or stop sponsoring
)

// opNames is indexed by OpKind.
var opNames = [...]string{
	OpCommit: "commit", OpRegister: "register", OpRecords: "records", OpDevices: "devices",
	OpRoots: "roots", OpRenew: "renew", OpRelease: "release", OpCancel: "cancel",
	OpOperate: "operate", OpVote: "vote", OpSponsor: "sponsor",
}

// String returns the kind's name.
func (k OpKind) String() string {
	if k >= OpCommit && int(k) < len(opNames) {
		return opNames[k]
	}
	return fmt.Sprintf("op %d", uint8(k))
}

// OpID is the SHA-256 of an op's exact bytes, signature included.
type OpID [32]byte

// String returns 64 lower-case hexadecimal digits.
func (id OpID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText implements encoding.TextMarshaler.
func (id OpID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// MaxOp bounds an op's bytes; the forced inbox on Ethereum takes 4 kB. Every
// body fits alone: the largest records have 2,800 bytes, 16 new devices 1,900.
// Only a registration with all of both does not; one of them then follows in an
// op of its own.
const MaxOp = 4096

// envelope is an op on the wire: the exact payload and the signature over it,
// which is empty for a commit.
type envelope struct {
	_         struct{} `cbor:",toarray"`
	Payload   []byte
	Signature []byte
}

// Commit announces a registration without showing it. It is unsigned: nobody
// may learn who commits, and what pays for it is bound to this one hash.
type Commit struct {
	_          struct{} `cbor:",toarray"`
	Kind       OpKind
	Chain      string
	Expires    uint64         // last height at which it is valid
	Hash       [32]byte       // CommitHash of the register op's bytes
	Checkpoint uint64         // number of the checkpoint that the payment is bound to
	Payment    ticket.Payment // kind of payment
	Proof      []byte         // the payment itself
}

// Op is a signed op's payload: who changes what, at which position.
type Op struct {
	_       struct{} `cbor:",toarray"`
	Kind    OpKind
	Chain   string
	Account AccountID
	Seq     uint64     // the entry's Seq plus one
	Prev    [32]byte   // the entry's LastOp; for Seq 1 the account id
	Expires uint64     // last height at which it is valid
	Signer  key.Public // a root or device key of the account
	Body    wire.Raw   // by kind: Registration, Records, DeviceList, RootList, …
}

// Signer makes ops: a key.Root or a key.Device.
type Signer interface {
	Public() key.Public
	SignOp(payload []byte) key.Signature
}

// SignOp completes the op with its body and the signer's key and returns its
// bytes, ready to submit.
func SignOp(op Op, body any, by Signer) []byte {
	op.Signer = by.Public()
	op.Body = wire.Encode(body)
	payload := wire.Encode(op)
	sig := by.SignOp(payload)
	return wire.Encode(envelope{Payload: payload, Signature: sig[:]})
}

// EncodeCommit returns the commit's bytes, ready to submit.
func EncodeCommit(c Commit) []byte {
	c.Kind = OpCommit
	return wire.Encode(envelope{Payload: wire.Encode(c)})
}

// ID returns what names the commit in the state, with [CommitKey]. It depends on
// the kind of payment: nobody signs a commit, so whoever saw one could make it
// again with another kind, and what that one may register is not the same. With
// ids of their own the two never meet. Every kind's id is a hash: what a commit
// announces is anybody's choice, and no choice makes one's id another's.
func (c Commit) ID() [32]byte { return commitID(c.Payment, c.Hash) }

func commitID(by ticket.Payment, hash [32]byte) [32]byte {
	return wire.TagCommitID.Sum([]byte{byte(by)}, hash[:])
}

// CommitHash returns the hash that a commit announces: over every byte of the
// register op that will reveal it, signature included.
func CommitHash(registerOp []byte) [32]byte { return wire.TagCommit.Sum(registerOp) }

// Tx is a parsed op. Its form and signature have been checked; whether it is
// accepted depends on the state.
type Tx struct {
	ID     OpID
	Size   int     // bytes
	Commit *Commit // either this
	Op     *Op     // or this is set
	body   any     // the decoded body of Op
	fault  *Reject // set if it did not even parse

	hash [32]byte // CommitHash of the bytes, for a register op
	work workMemo
}

// Kind returns what the op does, 0 for one that did not parse.
func (tx *Tx) Kind() OpKind {
	switch {
	case tx.Commit != nil:
		return OpCommit
	case tx.Op != nil:
		return tx.Op.Kind
	}
	return 0
}

// Parse decodes an op and checks what can be checked without a state: the
// canonical form, the bounds, the key and the signature. The Tx is never nil;
// one that failed may still stand in a block, where it gets its receipt.
func Parse(b []byte) (*Tx, *Reject) {
	tx := &Tx{ID: sha256.Sum256(b), Size: len(b)}
	if err := tx.parse(b); err != nil {
		tx.fault = err.(*Reject)
	}
	return tx, tx.fault
}

// parse fills tx. Its errors are of type *Reject.
func (tx *Tx) parse(b []byte) error {
	var env envelope
	if err := wire.Decode(b, &env, MaxOp); err != nil {
		return reject(Malformed, "%v", err)
	}
	if len(env.Signature) == 0 {
		var c Commit
		if err := wire.Decode(env.Payload, &c, MaxOp); err != nil {
			return reject(Malformed, "commit: %v", err)
		}
		if c.Kind != OpCommit {
			return reject(Malformed, "%v without a signature", c.Kind)
		}
		tx.Commit = &c
		return nil
	}
	var op Op
	if err := wire.Decode(env.Payload, &op, MaxOp); err != nil {
		return reject(Malformed, "%v", err)
	}
	body, err := decodeBody(op.Kind, op.Body)
	if err != nil {
		return err
	}
	if len(env.Signature) != key.SignatureSize {
		return reject(BadSignature, "it has %d bytes, not %d", len(env.Signature), key.SignatureSize)
	}
	if err := key.Verify(op.Signer, wire.TagOp, env.Payload, key.Signature(env.Signature)); err != nil {
		return reject(BadSignature, "%v", err)
	}
	tx.Op, tx.body = &op, body
	if op.Kind == OpRegister {
		tx.hash = CommitHash(b)
	}
	return nil
}

// decodeBody decodes the body of a signed op of this kind.
func decodeBody(kind OpKind, b []byte) (any, error) {
	var body any
	switch kind {
	case OpRegister:
		body = new(Registration)
	case OpRecords:
		body = new(Records)
	case OpDevices:
		body = new(DeviceList)
	case OpRoots:
		body = new(RootList)
	case OpRenew:
		body = new(Renewal)
	case OpRelease:
		body = new(Release)
	case OpCancel:
		body = new(Cancel)
	case OpOperate:
		body = new(Offer)
	case OpVote:
		body = new(Vote)
	case OpSponsor:
		body = new(Sponsorship)
	default:
		return nil, reject(Malformed, "%v is unknown or needs no signature", kind)
	}
	if err := wire.Decode(b, body, MaxOp); err != nil {
		return nil, reject(Malformed, "%v: %v", kind, err)
	}
	return body, nil
}
