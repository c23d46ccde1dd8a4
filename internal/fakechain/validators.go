package fakechain

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/confab-chat/confab/lightclient/verify"
)

// Set is a validator set with its private keys, in the set's order.
type Set struct {
	verify.Validators
	keys []*secp256k1.PrivateKey
}

// Equal returns the set of n validators of power 10 with the keys number first,
// first+1, …: sets whose numbers overlap have validators in common.
func Equal(first, n int) Set { return Weighted(first, slices.Repeat([]uint64{10}, n)...) }

// Weighted returns the set of the keys number first, first+1, … with these
// powers.
func Weighted(first int, powers ...uint64) Set {
	type pair struct {
		key     *secp256k1.PrivateKey
		address []byte
		power   uint64
	}
	pairs := make([]pair, len(powers))
	for i, p := range powers {
		k := validatorKey(first + i)
		pairs[i] = pair{k, keccak(k.PubKey().SerializeUncompressed()[1:])[12:], p}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.power, a.power), bytes.Compare(a.address, b.address))
	})
	var s Set
	var list []verify.Validator
	for _, p := range pairs {
		s.keys = append(s.keys, p.key)
		list = append(list, verify.Validator{Key: [33]byte(p.key.PubKey().SerializeCompressed()), Power: p.power})
	}
	v, err := verify.NewValidators(list)
	if err != nil {
		panic("fakechain: " + err.Error()) // a power of 0, or none at all
	}
	s.Validators = v
	return s
}

func validatorKey(n int) *secp256k1.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("fakechain validator"), uint64(n)))
	return secp256k1.PrivKeyFromBytes(seed[:])
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// signature signs as CometBFT's secp256k1eth keys do: R ‖ S ‖ V.
func (s Set) signature(i int, message []byte) (out verify.Signature) {
	compact := ecdsa.SignCompact(s.keys[i], keccak(message), false)
	copy(out[:], compact[1:])
	out[64] = compact[0] - 27
	return out
}

// Sign makes the head's commit anew, with votes for the block by the validators
// of these indexes, all of them if none is named.
func (s Set) Sign(h *verify.Head, who ...int) {
	h.Commit.Votes = make([]verify.Vote, s.Len())
	for i := range h.Commit.Votes {
		if len(who) > 0 && !slices.Contains(who, i) {
			continue
		}
		v := &h.Commit.Votes[i]
		v.Kind, v.Offset = verify.VoteBlock, time.Second+time.Duration(7*i)*time.Millisecond
		v.Signature = s.signature(i, h.SignBytes(i))
	}
}

// Seal returns the seals that all of the set put on a checkpoint, one height
// after it.
func (s Set) Seal(chain string, c verify.Checkpoint) verify.Seals {
	seals := verify.Seals{Height: c.Height + 1, Signatures: make([]verify.Signature, s.Len())}
	ext := verify.SealExtension(c.Number, c.Digest(verify.ChainTag(chain)))
	for i := range seals.Signatures {
		seals.Signatures[i] = s.signature(i, verify.SealSignBytes(chain, seals.Height, seals.Round, ext))
	}
	return seals
}
