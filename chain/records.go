package chain

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// What the app keeps beside the state, in the same atomic batch as each block.
// It is not part of the root: whoever reads it must check it against the root
// (a history against an entry's op log, a checkpoint against its seals).
var (
	markKey       = []byte("mark")
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
// with neither ops nor a checkpoint have none.
type BlockRecord struct {
	_          struct{} `cbor:",toarray"`
	Height     uint64
	Time       uint64
	Seed       [32]byte
	Checkpoint *namesvc.Checkpoint
	Ops        [][]byte
	Codes      []namesvc.RejectCode
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
func (a *App) records(b namesvc.Block, m Mark, cp *verify.Checkpoint, raw [][]byte, txs []*namesvc.Tx, receipts []namesvc.Receipt) []store.Record {
	out := []store.Record{{Key: markKey, Value: wire.Encode(m)}}
	if cp != nil {
		out = append(out, store.Record{Key: checkpointKey(cp.Number), Value: wire.Encode(*cp)})
	}
	if len(raw) == 0 && cp == nil {
		return out
	}
	rec := BlockRecord{Height: b.Height, Time: b.Time, Seed: b.Seed, Checkpoint: b.Checkpoint, Ops: raw}
	for i, r := range receipts {
		rec.Codes = append(rec.Codes, r.Code)
		detail := r.Detail
		if len(detail) > maxReceipt/2 {
			detail = detail[:maxReceipt/2]
		}
		where := ReceiptRecord{Height: b.Height, Index: uint32(i), Code: r.Code, Detail: detail}
		out = append(out, store.Record{Key: receiptKey(r.ID), Value: wire.Encode(where)})
		if op := txs[i].Op; r.Code == namesvc.Accepted && op != nil {
			out = append(out, store.Record{Key: opKey(op.Account, op.Seq), Value: wire.Encode(where)})
		}
	}
	return append(out, store.Record{Key: blockKey(b.Height), Value: wire.Encode(rec)})
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

// History returns an account's ops after the given sequence, at most limit.
func (a *App) History(id namesvc.AccountID, after uint64, limit int) ([]LoggedOp, error) {
	prefix := opKey(id, 0)[:len("o/")+len(id)]
	list, err := a.store.Range(prefix, opKey(id, after+1), limit)
	if err != nil {
		return nil, err
	}
	var out []LoggedOp
	for _, r := range list {
		var where ReceiptRecord
		if err := wire.Decode(r.Value, &where, maxReceipt); err != nil {
			return nil, fmt.Errorf("op record: %w", err)
		}
		b, ok, err := a.Block(where.Height)
		if err != nil {
			return nil, err
		}
		if !ok || int(where.Index) >= len(b.Ops) {
			return nil, errors.New("op record: its block is missing")
		}
		out = append(out, LoggedOp{
			Seq: binary.BigEndian.Uint64(r.Key[len(r.Key)-8:]), Height: b.Height, Time: b.Time, Op: b.Ops[where.Index],
		})
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
