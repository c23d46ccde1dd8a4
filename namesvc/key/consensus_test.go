package key_test

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"github.com/cometbft/cometbft/crypto/secp256k1eth"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"

	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// signed is what a consensus key of CometBFT's signs.
func signed(t testing.TB, name string, msg []byte) (key.Consensus, key.ConsensusSignature) {
	t.Helper()
	k := secp256k1eth.GenPrivKeySecp256k1Eth([]byte(name))
	sig, err := k.Sign(wire.TagPossession.Message(msg))
	if err != nil {
		t.Fatal(err)
	}
	return key.Consensus(k.PubKey().Bytes()), key.ConsensusSignature(sig)
}

func TestVerifyConsensus_AcceptsOnlyTheKeysOwn(t *testing.T) {
	msg := []byte("a message")
	for _, name := range []string{"a", "b", "c", "d", "e", "f"} { // both parities
		k, sig := signed(t, name, msg)
		if err := key.VerifyConsensus(k, wire.TagPossession, msg, sig); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		other, _ := signed(t, name+" of another", msg)
		high := sig // the other S that the plain equation accepts too
		s := new(big.Int).Sub(secp256k1.S256().N, new(big.Int).SetBytes(sig[32:64]))
		s.FillBytes(high[32:64])
		high[64] ^= 1
		for what, err := range map[string]error{
			"another key":     key.VerifyConsensus(other, wire.TagPossession, msg, sig),
			"another message": key.VerifyConsensus(k, wire.TagPossession, msg[1:], sig),
			"another tag":     key.VerifyConsensus(k, wire.TagRequest, msg, sig),
			"the high S":      key.VerifyConsensus(k, wire.TagPossession, msg, high),
			"no signature":    key.VerifyConsensus(k, wire.TagPossession, msg, key.ConsensusSignature{}),
		} {
			if !errors.Is(err, key.ErrSignature) {
				t.Errorf("%s: %s: %v", name, what, err)
			}
		}
		for i := range sig {
			bad := sig
			bad[i] ^= 1
			if i == 64 {
				bad[i] ^= 3 // V of 2 or 3 stands for an R that was reduced
			}
			if err := key.VerifyConsensus(k, wire.TagPossession, msg, bad); !errors.Is(err, key.ErrSignature) {
				t.Errorf("%s: byte %d touched: %v", name, i, err)
			}
		}
	}
	_, sig := signed(t, "a", msg)
	for _, k := range []key.Consensus{{}, {2}, {2, 32: 5}, {4, 1}} {
		if err := key.VerifyConsensus(k, wire.TagPossession, msg, sig); !errors.Is(err, key.ErrKey) {
			t.Errorf("key %x: %v", k, err)
		}
	}
}

// TestVerifyConsensus_AgreesWithTheVerifierOfHeads: the law and the light client
// have one rule, in two programs, and sign one text.
func TestVerifyConsensus_AgreesWithTheVerifierOfHeads(t *testing.T) {
	account := namesvc.AccountID{7}
	k, _ := signed(t, "a", nil)
	msg := namesvc.Possession("some-chain", account, k)
	if want := verify.PossessionMessage("some-chain", account, k); !bytes.Equal(wire.TagPossession.Message(msg), want) {
		t.Fatalf("the law has %x signed, the verifier %x", wire.TagPossession.Message(msg), want)
	}
}

func FuzzVerifyConsensus(f *testing.F) {
	msg := namesvc.Possession("c", namesvc.AccountID{}, key.Consensus{})
	k, sig := signed(f, "a", msg)
	f.Add(k[:], sig[:])
	f.Add(make([]byte, 33), make([]byte, 65))
	f.Fuzz(func(t *testing.T, k, sig []byte) {
		if len(k) != 33 || len(sig) != 65 {
			return
		}
		p := verify.Possession{ChainID: "c", Key: [33]byte(k), Signature: verify.Signature(sig)}
		msg := namesvc.Possession(p.ChainID, p.Account, p.Key)
		ours := key.VerifyConsensus(p.Key, wire.TagPossession, msg, key.ConsensusSignature(sig))
		if theirs := p.Check(); (ours == nil) != (theirs == nil) {
			t.Errorf("key %x, signature %x: the law says %v, the verifier %v", k, sig, ours, theirs)
		}
	})
}
