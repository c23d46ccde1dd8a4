package chain_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// FuzzBlock gives blocks of arbitrary bytes to two validators, of which one has
// seen and proposed everything before. Neither may panic, and they must agree.
func FuzzBlock(f *testing.F) {
	a, b, ops := fuzzTwins(f)
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 1, 0, 0, 2, 0, 0, 3, 0, 0})
	f.Add([]byte{255, 3, 1, 2, 3, 0, 5, 128, 1, 40, 7})
	f.Fuzz(func(t *testing.T, script []byte) {
		block := fuzzBlock(script, ops)
		for _, op := range block {
			a.check(t, op)
		}
		a.propose(t, block, 1<<20)
		if x, y := a.accepts(t, block), b.accepts(t, block); x != y {
			t.Fatalf("one validator accepts the proposal (%t), the other one does not (%t)", x, y)
		}
		x, y := a.try(t, block, 1), b.try(t, block, 1)
		if !reflect.DeepEqual(x, y) {
			t.Fatalf("two validators make of one block\n%v\n%v", x, y)
		}
	})
}

// fuzzTwins are two validators of one chain with a few accounts, and ops that
// would be good in their next block.
func fuzzTwins(f *testing.F) (a, b *machine, ops [][]byte) {
	p := testParams()
	a, b = newMachine(f, p), newMachine(f, p)
	both := func(block ...[]byte) {
		for _, m := range []*machine{a, b} {
			m.must(f, block...)
		}
	}
	both()
	var commits, reveals [][]byte
	var people []*person
	for i := range 4 {
		who := newPerson(f, p.Chain)
		c, r := who.registration(namesvc.Handle("person"+string(rune('a'+i))), a)
		people, commits, reveals = append(people, who), append(commits, c), append(reveals, r)
	}
	both(commits...)
	both(reveals[:3]...)
	ops = append(ops, reveals[3])
	for _, who := range people[:3] {
		for range 2 {
			ops = append(ops, who.op(namesvc.OpRecords, namesvc.Records{Profile: make([]byte, 32)}, who.device, a.height+100))
		}
	}
	fresh, _ := newPerson(f, p.Chain).registration("newcomer", a)
	return a, b, append(ops, fresh)
}

// fuzzBlock reads a block from a script: ops from the list with one byte
// changed, or not, and bytes of its own.
func fuzzBlock(script []byte, ops [][]byte) (block [][]byte) {
	for len(script) >= 3 && len(block) < 20 {
		which, at, flip := int(script[0]), int(script[1]), script[2]
		script = script[3:]
		if which >= 2*len(ops) {
			n := min(at, len(script))
			block, script = append(block, script[:n:n]), script[n:]
			continue
		}
		op := bytes.Clone(ops[which%len(ops)])
		op[(at+256*(which/len(ops)))%len(op)] ^= flip
		block = append(block, op)
	}
	return block
}

// FuzzRecord decodes what the app keeps beside the state. Whatever decodes must
// encode to the same bytes.
func FuzzRecord(f *testing.F) {
	f.Add(wire.Encode(chain.Mark{Height: 1, History: verify.History{}.Append([32]byte{1})}))
	f.Add(wire.Encode(chain.BlockRecord{Height: 2, Ops: [][]byte{{1}}, Codes: []namesvc.RejectCode{1}, Faults: []namesvc.Fault{{Height: 1}}, Checkpoint: &namesvc.Checkpoint{Number: 1}}))
	f.Add(wire.Encode(chain.ReceiptRecord{Height: 3, Detail: "why"}))
	f.Add(wire.Encode(chain.LoggedOp{Seq: 1, Op: []byte{1}}))
	f.Add(wire.Encode(chain.EvidenceRecord{Height: 4, Kind: "DUPLICATE_VOTE", Proof: []byte{1}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, into := range []any{new(chain.Mark), new(chain.BlockRecord), new(chain.ReceiptRecord), new(chain.LoggedOp), new(chain.EvidenceRecord)} {
			if wire.Decode(b, into, 1<<20) == nil && !bytes.Equal(wire.Encode(into), b) {
				t.Errorf("%T is not the only encoding of its value", into)
			}
		}
	})
}

// FuzzAppState decodes the app_state of genesis files. What it accepts must be
// good parameters, and survive being written and read again.
func FuzzAppState(f *testing.F) {
	good, err := json.Marshal(chain.AppState{Params: namesvc.DevParams("confab-fuzz")})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"params":{"version":1}}`))
	f.Add([]byte(`{"params":{},"operators":[{"key":"02","account":"00"}]}`))
	f.Add([]byte(`{"params":{},"params":{}}`))
	f.Add(slices.Concat(good, good))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := chain.DecodeAppState(b)
		if err != nil {
			return
		}
		if err := s.Params.Check(); err != nil {
			t.Fatal(err)
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if s2, err := chain.DecodeAppState(again); err != nil || !reflect.DeepEqual(s2, s) {
			t.Errorf("written and read again, %+v is %+v: %v", s, s2, err)
		}
		if p, err := namesvc.DecodeParams(s.Params.Encode()); err != nil || p != s.Params {
			t.Errorf("the leaf of %+v is %+v: %v", s.Params, p, err)
		}
	})
}
