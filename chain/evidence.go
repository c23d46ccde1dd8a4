package chain

import (
	"fmt"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/secp256k1eth"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// EvidenceRecord is a misbehaviour that cost a validator its seat. There is at
// most one for each seat, however often it misbehaved.
type EvidenceRecord struct {
	_         struct{} `cbor:",toarray"`
	Height    uint64   // of the block that proves it
	Validator namesvc.Validator
	Kind      string // DUPLICATE_VOTE or LIGHT_CLIENT_ATTACK, as CometBFT calls them
	At        uint64 // the height at which it happened
	Time      uint64 // of that height, in seconds since 1970
	Power     uint64 // of the validator at that height
	Total     uint64 // of all validators at that height
	// Proof is CometBFT's own evidence as protobuf: the two votes, say. It is
	// empty if it is too large to keep or was not at hand.
	Proof []byte
}

// Bounds of evidence records in bytes.
const (
	// maxProof lets two votes with extensions in, and an attack on light clients
	// with a hundred validators.
	maxProof          = 64 << 10
	maxEvidenceRecord = maxProof + 512
)

func evidenceKey(height uint64, n int) []byte {
	return append(append([]byte("e/"), height8(height)...), byte(n))
}

// Proof is one piece of evidence of a block.
type Proof struct {
	Address [20]byte // of a validator that it convicts
	Height  uint64   // of the misbehaviour
	Bytes   []byte   // protobuf
}

// Proofs returns the evidence of a block, which CometBFT keeps.
type Proofs func(height uint64) []Proof

// KeepProofs tells the app where blocks' evidence is. It must be called before the
// first block.
func (a *App) KeepProofs(p Proofs) { a.proofs = p }

// faults returns CometBFT's misbehaviour as the law knows it: by the keys of the
// set. Who is not in it any more has nothing left to lose.
func (a *App) faults(list []abci.Misbehavior) ([]namesvc.Fault, error) {
	if len(list) == 0 {
		return nil, nil
	}
	set, err := readValidators(a.view())
	if err != nil {
		return nil, err
	}
	var out []namesvc.Fault
	for _, m := range list {
		v, ok, err := byAddress(set, m.Validator.Address)
		if err != nil {
			return nil, err
		}
		f := namesvc.Fault{Key: v.Key, Height: uint64(m.Height)}
		if ok && !slices.Contains(out, f) {
			out = append(out, f)
		}
	}
	return out, nil
}

// byAddress returns the validator with this address.
func byAddress(set namesvc.ValidatorSet, address []byte) (namesvc.Validator, bool, error) {
	for _, v := range set.List {
		k, err := secp256k1eth.NewPubKeyFromBytes(v.Key[:])
		if err != nil {
			return v, false, fmt.Errorf("validator %x: %w", v.Key, err)
		}
		if string(k.Address()) == string(address) {
			return v, true, nil
		}
	}
	return namesvc.Validator{}, false, nil
}

// evidence returns what to keep of misbehaviour that the law took note of in a
// block.
func (a *App) evidence(did *outcome, list []abci.Misbehavior) ([]store.Record, error) {
	if len(did.block.Faults) == 0 {
		return nil, nil
	}
	before, err := readValidators(a.view())
	if err != nil {
		return nil, err
	}
	after, err := readValidators(did.state)
	if err != nil {
		return nil, err
	}
	var proofs []Proof
	if a.proofs != nil {
		proofs = a.proofs(did.block.Height)
	}
	var out []store.Record
	for _, m := range list {
		v, ok, err := byAddress(after, m.Validator.Address)
		if err != nil {
			return nil, err
		}
		if old, had := before.Find(v.Key); !ok || had && old.Fault != 0 || v.Fault != uint64(m.Height) {
			continue // gone, known, or not what it is marked for
		}
		r := EvidenceRecord{
			Height: did.block.Height, Validator: v, Kind: m.Type.String(), At: uint64(m.Height), Time: uint64(m.Time.Unix()),
			Power: uint64(m.Validator.Power), Total: uint64(m.TotalVotingPower),
		}
		for _, p := range proofs {
			if p.Height == r.At && string(p.Address[:]) == string(m.Validator.Address) && len(p.Bytes) <= maxProof {
				r.Proof = p.Bytes
			}
		}
		key := evidenceKey(r.Height, len(out))
		if !slices.ContainsFunc(out, func(o store.Record) bool { return sameEvidence(o.Value, r) }) {
			out = append(out, store.Record{Key: key, Value: wire.Encode(r)})
			a.logger.Warn("a validator misbehaved", "key", fmt.Sprintf("%x", v.Key), "kind", r.Kind, "at", r.At, "power", r.Power, "of", r.Total)
		}
	}
	return out, nil
}

// sameEvidence reports whether a record is about the same validator.
func sameEvidence(b []byte, r EvidenceRecord) bool {
	var o EvidenceRecord
	return wire.Decode(b, &o, maxEvidenceRecord) == nil && o.Validator.Key == r.Validator.Key
}

// Evidence returns what this node keeps of misbehaviour proven in blocks after
// the given height, at most limit records, oldest first.
func (a *App) Evidence(after uint64, limit int) ([]EvidenceRecord, error) {
	list, err := a.store.Range([]byte("e/"), evidenceKey(after+1, 0), limit)
	if err != nil {
		return nil, err
	}
	out := make([]EvidenceRecord, len(list))
	for i, r := range list {
		if err := wire.Decode(r.Value, &out[i], maxEvidenceRecord); err != nil {
			return nil, fmt.Errorf("evidence record: %w", err)
		}
	}
	return out, nil
}
