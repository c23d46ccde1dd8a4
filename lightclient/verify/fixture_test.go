package verify_test

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
	"golang.org/x/crypto/sha3"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

// fixtureChain and fixtureStart are where and when fixture heads live.
const fixtureChain = "confab-test-1"

var fixtureStart = time.Date(2026, 11, 21, 12, 0, 0, 123456789, time.UTC)

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

// testKey returns the private key number i, always the same.
func testKey(i int) *secp256k1.PrivateKey {
	seed := sha256.Sum256(binary.BigEndian.AppendUint64([]byte("confab test key"), uint64(i)))
	return secp256k1.PrivKeyFromBytes(seed[:])
}

func testAddress(key *secp256k1.PrivateKey) []byte {
	return keccak(key.PubKey().SerializeUncompressed()[1:])[12:]
}

func signWith(key *secp256k1.PrivateKey, message []byte) (s verify.Signature) {
	compact := ecdsa.SignCompact(key, keccak(message), false)
	copy(s[:], compact[1:])
	s[64] = compact[0] - 27
	return s
}

// testSet is a validator set with its private keys, in the set's order.
type testSet struct {
	verify.Validators
	keys []*secp256k1.PrivateKey
}

// members returns the validators of keys first, first+1, … with these powers,
// and their keys, in the order of a set.
func members(first int, powers ...uint64) (list []verify.Validator, keys []*secp256k1.PrivateKey) {
	type pair struct {
		key   *secp256k1.PrivateKey
		power uint64
	}
	pairs := make([]pair, len(powers))
	for i, p := range powers {
		pairs[i] = pair{testKey(first + i), p}
	}
	slices.SortFunc(pairs, func(a, b pair) int {
		return cmp.Or(cmp.Compare(b.power, a.power), bytes.Compare(testAddress(a.key), testAddress(b.key)))
	})
	for _, p := range pairs {
		list = append(list, verify.Validator{Key: [33]byte(p.key.PubKey().SerializeCompressed()), Power: p.power})
		keys = append(keys, p.key)
	}
	return list, keys
}

// newSet returns the set of keys first, first+1, … with these powers.
func newSet(t testing.TB, first int, powers ...uint64) testSet {
	t.Helper()
	list, keys := members(first, powers...)
	v, err := verify.NewValidators(list)
	if err != nil {
		t.Fatal(err)
	}
	return testSet{v, keys}
}

// equalSet returns a set of n validators of power 10, from key first on.
func equalSet(t testing.TB, first, n int) testSet {
	t.Helper()
	return newSet(t, first, slices.Repeat([]uint64{10}, n)...)
}

// header returns a header of this height that names these sets; its time is a
// minute after fixtureStart for each height.
func header(height uint64, set, next testSet) verify.Header {
	hash := func(what string) [32]byte {
		return sha256.Sum256(binary.BigEndian.AppendUint64([]byte(what), height))
	}
	return verify.Header{
		BlockVersion: 11,
		AppVersion:   1,
		ChainID:      fixtureChain,
		Height:       height,
		Time:         verify.TimeOf(fixtureStart.Add(time.Duration(height) * time.Minute)),
		LastBlock:    verify.BlockID{Hash: hash("last"), Parts: verify.Parts{Total: 1, Hash: hash("last parts")}},

		LastCommitHash:     hash("last commit"),
		DataHash:           hash("data"),
		ValidatorsHash:     set.Hash(),
		NextValidatorsHash: next.Hash(),
		ConsensusHash:      hash("consensus"),
		AppHash:            hash("app"),
		LastResultsHash:    hash("results"),
		EvidenceHash:       hash("evidence"),
		Proposer:           set.Address(0),
	}
}

// head returns the head of this height, signed by all of set.
func head(height uint64, set, next testSet) verify.Head {
	h := verify.Head{Header: header(height, set, next)}
	h.Commit.Parts = verify.Parts{Total: 2, Hash: sha256.Sum256([]byte("parts"))}
	for i := range set.keys {
		h.Commit.Votes = append(h.Commit.Votes, verify.Vote{
			Kind:   verify.VoteBlock,
			Offset: time.Second + time.Duration(i*i)*time.Millisecond,
		})
	}
	sign(&h, set)
	return h
}

// sign makes all signatures of the head anew.
func sign(h *verify.Head, set testSet) {
	for i := range h.Commit.Votes {
		v := &h.Commit.Votes[i]
		v.Signature = verify.Signature{}
		if v.Kind != verify.VoteAbsent {
			v.Signature = signWith(set.keys[i], h.SignBytes(i))
		}
	}
}

// trust returns what a verifier keeps of a head, without checking it.
func trust(h verify.Head, v verify.Validators) verify.Trust {
	return verify.Trust{
		ChainID:            h.Header.ChainID,
		Height:             h.Header.Height,
		Time:               h.Header.Time,
		Hash:               h.Header.Hash(),
		Validators:         v,
		NextValidatorsHash: h.Header.NextValidatorsHash,
	}
}

// overTheWire returns v encoded and decoded again.
func overTheWire[T any](t testing.TB, v T, max int) T {
	t.Helper()
	var again T
	if err := wire.Decode(wire.Encode(v), &again, max); err != nil {
		t.Fatalf("decoding what was encoded: %v", err)
	}
	return again
}
