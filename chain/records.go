package chain

import (
	"encoding/binary"
	"fmt"
	"strings"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// What the app keeps beside the state, in the same atomic batch as each block.
// It is not part of the root: whoever reads it must check it against the root
// (a history against an entry's op log, a checkpoint against its seals).
var (
	markKey       = []byte("mark")
	fromKey       = []byte("from") // the first block whose record is here, if not 1
	blockKey      = func(h uint64) []byte { return append([]byte("b/"), height8(h)...) }
	receiptKey    = func(id namesvc.OpID) []byte { return append([]byte("r/"), id[:]...) }
	checkpointKey = func(n uint64) []byte { return append([]byte("c/"), height8(n)...) }
	sealsKey      = func(n uint64) []byte { return append([]byte("s/"), height8(n)...) }
)

// opKey places an account's ops in the order of their sequence.
func opKey(id namesvc.AccountID, seq uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte("o/"), id[:]...), seq)
}

// BlockRecord is everything the law was given for one block: from a chain's
// parameters and its block records anyone can compute every root again. Blocks
// with neither ops nor a checkpoint nor faults have none.
type BlockRecord struct {
	_          struct{} `cbor:",toarray"`
	Height     uint64
	Time       uint64
	Seed       [32]byte
	Checkpoint *namesvc.Checkpoint
	Ops        [][]byte
	Codes      []namesvc.RejectCode
	Faults     []namesvc.Fault
}

// Law returns the block as the law was given it.
func (r BlockRecord) Law() namesvc.Block {
	return namesvc.Block{Height: r.Height, Time: r.Time, Seed: r.Seed, Checkpoint: r.Checkpoint, Faults: r.Faults}
}

// maxBlockRecord bounds a record: a full block and its frame.
const maxBlockRecord = maxBlock + 64<<10

// ReceiptRecord says where an op is and what became of it.
type ReceiptRecord struct {
	_      struct{} `cbor:",toarray"`
	Height uint64
	Index  uint32 // in the block
	Code   namesvc.RejectCode
	Detail string
}

// maxReceipt bounds a receipt: its detail is a sentence.
const maxReceipt = 1024

// records returns what to keep of a block.
func (a *App) records(did *outcome, m Mark, raw [][]byte, txs []*namesvc.Tx) ([]store.Record, error) {
	out := make([]store.Record, 0, 3+2*len(raw))
	out = append(out, store.Record{Key: markKey, Value: wire.Encode(m)})
	if did.due != nil {
		out = append(out, store.Record{Key: checkpointKey(did.due.Number), Value: wire.Encode(*did.due)})
	}
	if len(raw) == 0 && did.due == nil && len(did.block.Faults) == 0 {
		return out, nil
	}
	b := did.block
	rec := BlockRecord{
		Height: b.Height, Time: b.Time, Seed: b.Seed, Checkpoint: b.Checkpoint, Ops: raw, Faults: b.Faults,
		Codes: make([]namesvc.RejectCode, len(raw)),
	}
	taken := map[namesvc.OpID]bool{}
	for i, r := range did.receipts {
		rec.Codes[i] = r.Code
		if r.Code == namesvc.Accepted {
			taken[r.ID] = true
		} else if again, err := a.taken(taken, r.ID); err != nil {
			return nil, err
		} else if again {
			continue
		}
		where := ReceiptRecord{Height: b.Height, Index: uint32(i), Code: r.Code, Detail: detail(r)}
		out = append(out, store.Record{Key: receiptKey(r.ID), Value: wire.Encode(where)})
		if op := txs[i].Op; r.Code == namesvc.Accepted && op != nil {
			line := LoggedOp{Seq: op.Seq, Height: b.Height, Time: b.Time, Op: raw[i]}
			out = append(out, store.Record{Key: opKey(op.Account, op.Seq), Value: wire.Encode(line)})
		}
	}
	return append(out, store.Record{Key: blockKey(b.Height), Value: wire.Encode(rec)}), nil
}

// taken reports whether an op that is refused now was accepted before, in this
// block or an earlier one. Then its receipt stays: whoever repeats an op, as a
// proposer can, must not make its owner believe that it failed.
func (a *App) taken(here map[namesvc.OpID]bool, id namesvc.OpID) (bool, error) {
	if here[id] {
		return true, nil
	}
	r, known, err := a.Receipt(id)
	return known && r.Code == namesvc.Accepted, err
}

// detail returns a receipt's detail as a record can hold it.
func detail(r namesvc.Receipt) string {
	return strings.ToValidUTF8(r.Detail[:min(len(r.Detail), maxReceipt/2)], "")
}

// Receipt returns what became of an op, and whether it is known.
func (a *App) Receipt(id namesvc.OpID) (ReceiptRecord, bool, error) {
	var r ReceiptRecord
	ok, err := a.record(receiptKey(id), &r, maxReceipt)
	return r, ok, err
}

// Block returns the record of a block, and whether there is one.
func (a *App) Block(height uint64) (BlockRecord, bool, error) {
	var r BlockRecord
	ok, err := a.record(blockKey(height), &r, maxBlockRecord)
	return r, ok, err
}

// Blocks returns the records of the blocks after the given height, at most
// limit of them.
func (a *App) Blocks(after uint64, limit int) ([]BlockRecord, error) {
	list, err := a.store.Range([]byte("b/"), blockKey(after+1), limit)
	if err != nil {
		return nil, err
	}
	out := make([]BlockRecord, len(list))
	for i, r := range list {
		if err := wire.Decode(r.Value, &out[i], maxBlockRecord); err != nil {
			return nil, fmt.Errorf("block record: %w", err)
		}
	}
	return out, nil
}

// LoggedOp is one op of an account with its place on the chain.
type LoggedOp struct {
	_      struct{} `cbor:",toarray"`
	Seq    uint64
	Height uint64
	Time   uint64
	Op     []byte // exact bytes
}

// maxLoggedOp bounds one: the op and its frame.
const maxLoggedOp = namesvc.MaxOp + 64

// History returns an account's ops after the given sequence, at most limit.
func (a *App) History(id namesvc.AccountID, after uint64, limit int) ([]LoggedOp, error) {
	prefix := opKey(id, 0)[:len("o/")+len(id)]
	list, err := a.store.Range(prefix, opKey(id, after+1), limit)
	if err != nil {
		return nil, err
	}
	out := make([]LoggedOp, len(list))
	for i, r := range list {
		if err := wire.Decode(r.Value, &out[i], maxLoggedOp); err != nil {
			return nil, fmt.Errorf("op record: %w", err)
		}
	}
	return out, nil
}

// record reads and decodes one record.
func (a *App) record(k []byte, into any, limit int) (bool, error) {
	b, err := a.store.Record(k)
	if err != nil || b == nil {
		return false, err
	}
	if err := wire.Decode(b, into, limit); err != nil {
		return false, fmt.Errorf("record %.2q: %w", k, err)
	}
	return true, nil
}
