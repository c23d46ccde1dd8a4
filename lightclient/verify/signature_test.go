package verify

import (
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"github.com/decred/dcrd/dcrec/secp256k1/v4/ecdsa"
)

// recoveredIs is what signedBy must equal: CometBFT's rule, by recovery.
func recoveredIs(key *secp256k1.PublicKey, message []byte, s *Signature) bool {
	var r, sv secp256k1.ModNScalar
	if s[64] > 1 || r.SetByteSlice(s[:32]) || sv.SetByteSlice(s[32:64]) ||
		r.IsZero() || sv.IsZero() || sv.IsOverHalfOrder() {
		return false
	}
	recovered, err := recoverAs(message, s, s[64])
	return err == nil && recovered.IsEqual(key)
}

// recoverAs recovers a key with code 0 to 3; from 2 on R stands for a
// coordinate above the group order.
func recoverAs(message []byte, s *Signature, code byte) (*secp256k1.PublicKey, error) {
	digest := keccak256(message)
	key, _, err := ecdsa.RecoverCompact(append([]byte{27 + code}, s[:64]...), digest[:])
	return key, err
}

func scalar(n uint64) *secp256k1.ModNScalar {
	h := sha256.Sum256(binary.BigEndian.AppendUint64(nil, n))
	s := new(secp256k1.ModNScalar)
	s.SetBytes(&h)
	return s
}

// craft returns a signature over message by nobody in particular: any R and S
// are a signature of the key that they recover to.
func craft(r, s *secp256k1.ModNScalar, v byte) (out Signature) {
	r.PutBytesUnchecked(out[:32])
	s.PutBytesUnchecked(out[32:64])
	out[64] = v
	return out
}

// edgeR returns values of R that matter: around zero, around the order, below
// P − N where R could stand for two coordinates, and on no point at all.
func edgeR() (list []*secp256k1.ModNScalar) {
	for n := range uint32(40) {
		list = append(list, new(secp256k1.ModNScalar).SetInt(n), new(secp256k1.ModNScalar).SetInt(n).Negate())
	}
	for n := range uint64(20) {
		list = append(list, scalar(n))
	}
	return list
}

func edgeS() []*secp256k1.ModNScalar {
	one := new(secp256k1.ModNScalar).SetInt(1)
	two := new(secp256k1.ModNScalar).SetInt(2)
	half := new(secp256k1.ModNScalar).InverseValNonConst(two) // (N+1)/2, the first high S
	below := new(secp256k1.ModNScalar).Set(one).Negate().Add(half)
	return []*secp256k1.ModNScalar{one, two, half, below, scalar(7), scalar(8), new(secp256k1.ModNScalar)}
}

func TestSignedBy_IsRecoveryForEveryEdge(t *testing.T) {
	message := []byte("message")
	var accepted, refused, overflowing int
	for _, r := range edgeR() {
		for _, s := range edgeS() {
			for code := range byte(4) {
				sig := craft(r, s, code&1)
				key, err := recoverAs(message, &sig, code)
				if err != nil {
					key = secp256k1.NewPrivateKey(scalar(99)).PubKey()
				}
				for v := range byte(5) {
					sig[64] = v
					got, want := sig.signedBy(key, message), recoveredIs(key, message, &sig)
					if got != want {
						t.Fatalf("R %v, S %v, V %d, key of code %d: got %v, recovery says %v", r, s, v, code, got, want)
					}
					if got {
						accepted++
					} else {
						refused++
					}
					if err == nil && code > 1 {
						overflowing++
						if got {
							t.Fatalf("R %v stands for R+N", r)
						}
					}
				}
			}
		}
	}
	t.Logf("%d accepted, %d refused, of these %d for a reduced R", accepted, refused, overflowing)
	if accepted < 300 || refused < 500 || overflowing < 100 {
		t.Error("the edges do not reach both sides")
	}
}

func TestSignedBy_RefusesTheUnreducedForms(t *testing.T) {
	message := []byte("message")
	priv := secp256k1.NewPrivateKey(scalar(1))
	digest := keccak256(message)
	compact := ecdsa.SignCompact(priv, digest[:], false)
	var good Signature
	copy(good[:], compact[1:])
	good[64] = compact[0] - 27
	if !good.signedBy(priv.PubKey(), message) {
		t.Fatal("a good signature was refused")
	}
	order := secp256k1.Params().N.FillBytes(make([]byte, 32))

	high := good // the other S that plain ECDSA accepts
	var s secp256k1.ModNScalar
	s.SetByteSlice(good[32:64])
	s.Negate().PutBytesUnchecked(high[32:64])
	flipped := high
	flipped[64] ^= 1
	bigR, bigS := good, good
	copy(bigR[:32], order)
	copy(bigS[32:64], order)
	magic := good
	magic[64] += 27
	for name, sig := range map[string]Signature{
		"high S": high, "high S with its V": flipped, "R of the order": bigR, "S of the order": bigS,
		"V of Ethereum": magic, "nothing": {},
	} {
		if sig.signedBy(priv.PubKey(), message) || recoveredIs(priv.PubKey(), message, &sig) {
			t.Errorf("%s was accepted", name)
		}
	}
}

// For this key, e·G + R·key is the point at infinity, whatever S is.
func TestSignedBy_RefusesThePointAtInfinity(t *testing.T) {
	message := []byte("message")
	digest := keccak256(message)
	var e secp256k1.ModNScalar
	e.SetBytes(&digest)
	r := scalar(5)
	d := new(secp256k1.ModNScalar).InverseValNonConst(r)
	d.Mul(&e).Negate()
	key := secp256k1.NewPrivateKey(d).PubKey()
	for v := range byte(2) {
		sig := craft(r, new(secp256k1.ModNScalar).SetInt(3), v)
		if sig.signedBy(key, message) || recoveredIs(key, message, &sig) {
			t.Error("accepted")
		}
	}
}

func TestSignedBy_IsRecoveryForRandomChanges(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		priv := secp256k1.NewPrivateKey(scalar(rnd.Uint64()))
		message := binary.BigEndian.AppendUint64(nil, rnd.Uint64())
		digest := keccak256(message)
		compact := ecdsa.SignCompact(priv, digest[:], false)
		var sig Signature
		copy(sig[:], compact[1:])
		sig[64] = compact[0] - 27
		if i%3 != 0 {
			sig[rnd.IntN(65)] ^= 1 << rnd.IntN(8)
		}
		got, want := sig.signedBy(priv.PubKey(), message), recoveredIs(priv.PubKey(), message, &sig)
		if got != want || got != (i%3 == 0) {
			t.Fatalf("case %d: got %v, recovery says %v", i, got, want)
		}
	}
}
