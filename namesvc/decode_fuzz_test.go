package namesvc_test

import (
	"bytes"
	"path/filepath"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// seeds adds every vector of a file to a fuzz target.
func seeds(f *testing.F, name string) {
	f.Helper()
	file, err := vectors.Read(filepath.Join(vectorsDir, name))
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range file.Vectors {
		if v.Bytes != nil {
			f.Add(v.Bytes)
		}
	}
}

// FuzzParse: whatever comes in, Parse gives a Tx or a fault, the id is that of
// the bytes, and an accepted op's parts encode back to them.
func FuzzParse(f *testing.F) {
	seeds(f, "ops.txt")
	seeds(f, "ops_invalid.txt")
	f.Fuzz(func(t *testing.T, b []byte) {
		tx, fault := namesvc.Parse(b)
		if tx == nil || tx.Size != len(b) {
			t.Fatal("no Tx")
		}
		if fault != nil {
			if fault.Code != namesvc.Malformed && fault.Code != namesvc.BadSignature {
				t.Errorf("refused as %v without a state", fault.Code)
			}
			if tx.Kind() != 0 {
				t.Errorf("a refused op is a %v", tx.Kind())
			}
			return
		}
		var env envelope
		if err := wire.Decode(b, &env, namesvc.MaxOp); err != nil {
			t.Fatal(err)
		}
		payload := wire.Encode(tx.Commit)
		if tx.Op != nil {
			payload = wire.Encode(tx.Op)
		}
		if !bytes.Equal(payload, env.Payload) {
			t.Errorf("%x does not encode back", b)
		}
	})
}

// back checks that what a decoder accepts encodes back to the same bytes.
func back[T any](t *testing.T, b []byte, decode func([]byte) (T, error), encode func(T) []byte) {
	t.Helper()
	if v, err := decode(b); err == nil && !bytes.Equal(encode(v), b) {
		t.Errorf("%x decodes and does not encode back", b)
	}
}

func FuzzDecodeEntry(f *testing.F) {
	seeds(f, "leaves.txt")
	f.Add(largestEntry().Encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		back(t, b, namesvc.DecodeEntry, namesvc.Entry.Encode)
		e, err := namesvc.DecodeEntry(b)
		if err != nil {
			return
		}
		for _, now := range []uint64{0, e.Expires, e.Lapses, 1<<64 - 1} {
			if at := e.At(now); len(at.Handles) > len(e.Handles) || at.Account != e.Account {
				t.Errorf("at %d: %v", now, at)
			}
		}
	})
}

func FuzzDecodeGenesis(f *testing.F) {
	seeds(f, "messages.txt")
	f.Fuzz(func(t *testing.T, b []byte) { back(t, b, namesvc.DecodeGenesis, namesvc.Genesis.Encode) })
}

func FuzzDecodeDevices(f *testing.F) {
	seeds(f, "leaves.txt")
	f.Fuzz(func(t *testing.T, b []byte) { back(t, b, namesvc.DecodeDevices, namesvc.Devices.Encode) })
}

func FuzzDecodeHandleLeaf(f *testing.F) {
	seeds(f, "leaves.txt")
	f.Fuzz(func(t *testing.T, b []byte) { back(t, b, namesvc.DecodeHandleLeaf, namesvc.HandleLeaf.Encode) })
}

func FuzzDecodeParams(f *testing.F) {
	seeds(f, "leaves.txt")
	f.Fuzz(func(t *testing.T, b []byte) { back(t, b, namesvc.DecodeParams, namesvc.Params.Encode) })
}

// FuzzDecodeSmallLeaves feeds the leaves of which there are few, and what shows
// any leaf to people.
func FuzzDecodeSmallLeaves(f *testing.F) {
	seeds(f, "leaves.txt")
	f.Fuzz(func(t *testing.T, b []byte) {
		back(t, b, namesvc.DecodeMeter, func(m namesvc.Meter) []byte { return wire.Encode(m) })
		back(t, b, namesvc.DecodeCheckpoint, func(c namesvc.Checkpoint) []byte { return wire.Encode(c) })
		back(t, b, namesvc.DecodeValidatorSet, func(s namesvc.ValidatorSet) []byte { return wire.Encode(s) })
		back(t, b, namesvc.DecodeOperator, namesvc.Operator.Encode)
		back(t, b, namesvc.DecodeSponsor, namesvc.Sponsor.Encode)
		back(t, b, namesvc.DecodeInForce, func(r namesvc.InForce) []byte { return wire.Encode(r) })
		for kind := byte('a'); kind <= 'z'; kind++ {
			if v := namesvc.DecodeLeaf(kind, b); (v == nil) != (len(b) == 0) {
				t.Errorf("leaf of kind %c: %v", kind, v)
			}
		}
	})
}

// FuzzDecodeBodies feeds every body and small leaf to its type.
func FuzzDecodeBodies(f *testing.F) {
	file, err := vectors.Read(filepath.Join(vectorsDir, "ops.txt"))
	if err != nil {
		f.Fatal(err)
	}
	for _, v := range file.Vectors {
		if tx, _ := namesvc.Parse(v.Bytes); tx.Op != nil {
			f.Add([]byte(tx.Op.Body))
		}
	}
	seeds(f, "leaves.txt")
	seeds(f, "messages.txt")
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, into := range []any{
			new(namesvc.Registration), new(namesvc.Records), new(namesvc.DeviceList), new(namesvc.RootList), new(namesvc.Renewal),
			new(namesvc.Release), new(namesvc.Cancel), new(namesvc.Commit), new(namesvc.Op), new(namesvc.Meter), new(namesvc.Checkpoint),
			new(namesvc.ValidatorSet), new(namesvc.Offer), new(namesvc.Vote), new(namesvc.Sponsorship), new(namesvc.Sponsor), new(namesvc.Operator), new(namesvc.InForce), new(namesvc.Fault),
			new(namesvc.Pending), new(namesvc.Lease), new(commitLeaf), new(queueLeaf),
		} {
			if wire.Decode(b, into, namesvc.MaxOp) == nil && !bytes.Equal(wire.Encode(into), b) {
				t.Errorf("%x decodes as %T and does not encode back", b, into)
			}
		}
	})
}

func FuzzParseAccountID(f *testing.F) {
	f.Add(namesvc.AccountID{1}.String())
	f.Add("xyz")
	f.Fuzz(func(t *testing.T, s string) {
		id, err := namesvc.ParseAccountID(s)
		if err == nil && id.String() != s {
			t.Errorf("%q reads as %v", s, id)
		}
	})
}

// FuzzParseWords: scopes and roles read back what they print.
func FuzzParseWords(f *testing.F) {
	f.Add("message,records")
	f.Add("concierge,hub,relay,validator")
	f.Add("concierge,concierge")
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := namesvc.ParseScopes(s); err == nil {
			if again, err := namesvc.ParseScopes(v.String()); err != nil || again != v || v == 0 || v&^namesvc.AllScopes != 0 {
				t.Errorf("scopes %q: %v", s, v)
			}
		}
		if v, err := namesvc.ParseRoles(s); err == nil {
			if again, err := namesvc.ParseRoles(v.String()); err != nil || again != v || v == 0 {
				t.Errorf("roles %q: %v", s, v)
			}
		}
	})
}
