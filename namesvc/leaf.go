package namesvc

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Key is the place of a leaf in the state tree: SHA-256(kind ‖ id).
type Key [32]byte

// The kinds of leaves. Frozen.
const (
	LeafAccount    = 'a' // id: account id; value: Entry
	LeafHandle     = 'h' // id: skeleton; value: HandleLeaf
	LeafDevices    = 'd' // id: account id; value: Devices
	LeafCommit     = 'k' // id: commit id; value: commitLeaf
	LeafQueue      = 'q' // id: number, 8 bytes big-endian; value: commit id
	LeafMeter      = 'm' // one; value: Meter
	LeafParams     = 'p' // one; value: Params
	LeafValidators = 'v' // one; value: ValidatorSet
	LeafCheckpoint = 'c' // id: number, 8 bytes big-endian; value: Checkpoint
	LeafOperator   = 'o' // id: account id; value: Operator
	LeafRules      = 'r' // one; value: InForce
	LeafSponsor    = 's' // id: account id; value: Sponsor
)

// LeafKey returns the key of the leaf of this kind and id. Tools that talk to
// ICS-23 verifiers need the preimage; it is the kind byte followed by the id.
func LeafKey(kind byte, id []byte) Key {
	h := sha256.New()
	h.Write([]byte{kind})
	h.Write(id)
	var k Key
	h.Sum(k[:0])
	return k
}

// AccountKey returns the key of an account's entry.
func AccountKey(id AccountID) Key { return LeafKey(LeafAccount, id[:]) }

// HandleKey returns the key of the leaf of all handles with this skeleton.
func HandleKey(s Skeleton) Key { return LeafKey(LeafHandle, []byte(s)) }

// DevicesKey returns the key of an account's devices.
func DevicesKey(id AccountID) Key { return LeafKey(LeafDevices, id[:]) }

// CommitKey returns the key of a commit, given its id, see [Commit.ID].
func CommitKey(id [32]byte) Key { return LeafKey(LeafCommit, id[:]) }

// ParamsKey returns the key of the chain's parameters.
func ParamsKey() Key { return LeafKey(LeafParams, nil) }

// ValidatorsKey returns the key of the validator set.
func ValidatorsKey() Key { return LeafKey(LeafValidators, nil) }

// OperatorKey returns the key of what an account says as a validator's operator.
func OperatorKey(id AccountID) Key { return LeafKey(LeafOperator, id[:]) }

// SponsorKey returns the key of what an account says and may do as a sponsor.
func SponsorKey(id AccountID) Key { return LeafKey(LeafSponsor, id[:]) }

// RulesKey returns the key of the rule set in force.
func RulesKey() Key { return LeafKey(LeafRules, nil) }

// MeterKey returns the key of the chain's counters.
func MeterKey() Key { return LeafKey(LeafMeter, nil) }

// CheckpointKey returns the key of checkpoint number n.
func CheckpointKey(n uint64) Key { return LeafKey(LeafCheckpoint, CheckpointID(n)) }

func queueKey(n uint64) Key { return LeafKey(LeafQueue, number(n)) }

func number(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

// CheckpointID returns the id of checkpoint number n's leaf.
func CheckpointID(n uint64) []byte { return number(n) }

// HandleLeaf says who holds the handles of one skeleton. It stays when the
// handle is retired, so that its next owner gets the next generation.
type HandleLeaf struct {
	_          struct{} `cbor:",toarray"`
	Version    uint8    // 1
	Account    AccountID
	Generation uint32 // of the lease; 1 for the first
	Handle     Handle // the owner's spelling
	Registered uint64 // seconds since 1970
	Released   uint64 // when the owner gave it back, or 0
}

// maxHandleLeaf bounds the encoding in bytes.
const maxHandleLeaf = 128

// Encode returns the leaf value.
func (l HandleLeaf) Encode() []byte { return wire.Encode(l) }

// DecodeHandleLeaf parses a handle's leaf.
func DecodeHandleLeaf(b []byte) (HandleLeaf, error) {
	var l HandleLeaf
	if err := wire.Decode(b, &l, maxHandleLeaf); err != nil {
		return HandleLeaf{}, fmt.Errorf("handle leaf: %w", err)
	}
	if l.Version != 1 || l.Generation == 0 || !l.Handle.valid() {
		return HandleLeaf{}, fmt.Errorf("handle leaf: it is malformed")
	}
	return l, nil
}

// commitLeaf remembers a commit until it cannot be revealed or repeated.
type commitLeaf struct {
	_        struct{} `cbor:",toarray"`
	Height   uint64
	Number   uint64 // its place in the queue
	Revealed bool
}

// Meter holds the counters that registrations need.
type Meter struct {
	_          struct{} `cbor:",toarray"`
	Checkpoint uint64   // number of the newest checkpoint
	Day        uint64   // seconds since 1970, divided by 86,400
	Commits    uint32   // commits by work on that day
	Oldest     uint64   // first commit still in the queue
	Next       uint64   // number of the next commit
}

// Checkpoint is what the law keeps of a checkpoint: enough to bind work to it.
// The digest itself, and what the validators sign, are the machine's.
type Checkpoint struct {
	_      struct{} `cbor:",toarray"`
	Number uint64
	Height uint64
	Time   uint64
	Digest [32]byte
}

// DecodeMeter parses the counters' leaf.
func DecodeMeter(b []byte) (Meter, error) {
	var m Meter
	if err := wire.Decode(b, &m, maxMeter); err != nil {
		return Meter{}, fmt.Errorf("meter: %w", err)
	}
	return m, nil
}

// DecodeCheckpoint parses a checkpoint's leaf.
func DecodeCheckpoint(b []byte) (Checkpoint, error) {
	var c Checkpoint
	if err := wire.Decode(b, &c, maxCheckpoint); err != nil {
		return Checkpoint{}, fmt.Errorf("checkpoint: %w", err)
	}
	return c, nil
}

// leafNames are the kinds of leaves in words.
var leafNames = map[byte]string{
	LeafAccount: "account", LeafHandle: "handle", LeafDevices: "devices", LeafCommit: "commit", LeafQueue: "queue",
	LeafMeter: "meter", LeafParams: "params", LeafValidators: "validators", LeafCheckpoint: "checkpoint",
	LeafOperator: "operator", LeafRules: "rules", LeafSponsor: "sponsor",
}

// LeafName returns a leaf's kind in a word.
func LeafName(kind byte) string {
	if name, ok := leafNames[kind]; ok {
		return name
	}
	return "unknown"
}

// DecodeLeaf decodes a leaf's value for people to look at: nil if it is absent,
// the bytes themselves if they are not what the kind says.
func DecodeLeaf(kind byte, value []byte) any {
	if len(value) == 0 {
		return nil
	}
	var v any
	var err error
	switch kind {
	case LeafAccount:
		v, err = DecodeEntry(value)
	case LeafHandle:
		v, err = DecodeHandleLeaf(value)
	case LeafDevices:
		v, err = DecodeDevices(value)
	case LeafMeter:
		v, err = DecodeMeter(value)
	case LeafParams:
		v, err = DecodeParams(value)
	case LeafValidators:
		v, err = DecodeValidatorSet(value)
	case LeafCheckpoint:
		v, err = DecodeCheckpoint(value)
	case LeafOperator:
		v, err = DecodeOperator(value)
	case LeafRules:
		v, err = DecodeInForce(value)
	case LeafSponsor:
		v, err = DecodeSponsor(value)
	default:
		return value
	}
	if err != nil {
		return value
	}
	return v
}
