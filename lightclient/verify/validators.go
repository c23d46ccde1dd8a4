package verify

import (
	"bytes"
	"fmt"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/confab-chat/confab/namesvc/wire"
)

// Validator is one member of a set: a secp256k1eth key in compressed form and
// its share of the power.
type Validator struct {
	_     struct{} `cbor:",toarray"`
	Key   [33]byte
	Power uint64
}

// Validators is the set that signs a block, in CometBFT's order: power
// descending, then address ascending. A validator is known by its index. The
// zero value is the empty set, which nothing can be verified against; any other
// value is valid, because [NewValidators] and the decoder are the only ways to
// make one. It does not change once made, and copies share memory.
type Validators struct {
	members []member
	total   uint64
	hash    [32]byte
}

// member is a validator with what is costly to derive from its key.
type member struct {
	Validator
	point   secp256k1.PublicKey
	address [20]byte
}

// NewValidators returns the set of these validators. It refuses, with
// [ErrInvalid], an empty or too large set, a key that is not on the curve, a
// validator without power, more than [MaxTotalPower] in all, and any order but
// CometBFT's; so no validator is in it twice.
func NewValidators(list []Validator) (Validators, error) {
	if len(list) == 0 || len(list) > MaxValidators {
		return Validators{}, invalid("validator set of %d, allowed are 1 to %d", len(list), MaxValidators)
	}
	v := Validators{members: make([]member, len(list))}
	for i, val := range list {
		if val.Power == 0 || val.Power > MaxTotalPower-v.total {
			return Validators{}, invalid("validator %d: power %d is out of range", i, val.Power)
		}
		v.total += val.Power
		key, err := secp256k1.ParsePubKey(val.Key[:])
		if err != nil {
			return Validators{}, invalid("validator %d: key: %v", i, err)
		}
		v.members[i] = member{Validator: val, point: *key, address: addressOf(key)}
		if i > 0 && !v.members[i-1].before(&v.members[i]) {
			return Validators{}, invalid("validator %d: out of order", i)
		}
	}
	v.hash = v.computeHash()
	return v, nil
}

// before reports whether m comes before n in CometBFT's order.
func (m *member) before(n *member) bool {
	if m.Power != n.Power {
		return m.Power > n.Power
	}
	return bytes.Compare(m.address[:], n.address[:]) < 0
}

// computeHash returns the Merkle root over the validators' keys and powers.
func (v Validators) computeHash() [32]byte {
	leaves := make([][32]byte, len(v.members))
	for i := range v.members {
		m := &v.members[i]
		key := appendMessage(nil, 5, m.Key[:]) // 5 is secp256k1eth among the key types
		leaves[i] = leafHash(appendVarint(appendMessage(nil, 1, key), 2, m.Power))
	}
	return merkleRoot(leaves)
}

// Len returns the number of validators.
func (v Validators) Len() int { return len(v.members) }

// At returns validator i, which must be below Len.
func (v Validators) At(i int) Validator { return v.members[i].Validator }

// Address returns the Ethereum address of validator i, which must be below Len.
// It is CometBFT's address too.
func (v Validators) Address(i int) [20]byte { return v.members[i].address }

// TotalPower returns the power of the whole set, at most [MaxTotalPower].
func (v Validators) TotalPower() uint64 { return v.total }

// Hash returns the set's hash as it stands in headers; zero for the empty set.
func (v Validators) Hash() [32]byte { return v.hash }

// signed reports whether validator i made the signature over message.
func (v Validators) signed(i int, message []byte, s *Signature) bool {
	return s.signedBy(&v.members[i].point, message)
}

// MarshalCBOR encodes the set as an array of validators.
func (v Validators) MarshalCBOR() ([]byte, error) {
	list := make([]Validator, len(v.members))
	for i := range v.members {
		list[i] = v.members[i].Validator
	}
	return wire.Encode(list), nil
}

// UnmarshalCBOR decodes a set, with the checks of [NewValidators].
func (v *Validators) UnmarshalCBOR(b []byte) error {
	var list []Validator
	if err := wire.Decode(b, &list, MaxValidatorsSize); err != nil {
		return fmt.Errorf("decode validators: %w", err)
	}
	decoded, err := NewValidators(list)
	if err != nil {
		return fmt.Errorf("decode validators: %w", err)
	}
	*v = decoded
	return nil
}
