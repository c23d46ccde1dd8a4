package chain

import (
	"fmt"

	"github.com/confab-chat/confab/namesvc/wire"
)

// ExportRow is one row of the record of a chain: a block that the law was given
// something in, the root after it, and the misbehaviour it proved. From the
// genesis file and all rows anyone can compute every root again, with the law
// alone; changes of the validator set are part of that state. The height is the
// row's place: rows are asked for after one.
type ExportRow struct {
	_        struct{} `cbor:",toarray"`
	Block    BlockRecord
	Root     [32]byte // of the state after the block
	Evidence []EvidenceRecord
}

// Bounds of a page of rows.
const (
	// MaxExportRows is how many rows one page has at most.
	MaxExportRows = 1000
	// exportBytes is when a page ends early: a row may have megabytes.
	exportBytes = 1 << 20
	// exportStep is how many rows are read at a time.
	exportStep = 16
	// MaxExportPage bounds an encoded page: what ends it, one more block, and its
	// evidence, which CometBFT bounds for each block.
	MaxExportPage = exportBytes + maxBlockRecord + 2*maxEvidence + 1<<20
)

// Export returns the rows after a height, at most MaxExportRows, and whether there
// are more now. An error of kind NotFound means that this node does not have the
// rows that come next: it joined later. See [App.From].
func (a *App) Export(after uint64) (rows []ExportRow, more bool, err error) {
	if from := a.From(); after+1 < from {
		return nil, false, wire.Errorf(wire.NotFound, "this node joined the chain by a snapshot and has its record from height %d on; ask one that has all of it", from)
	}
	// The state is read first: a block that comes meanwhile has a row of its own.
	state := a.store.State()
	size := 0
	for len(rows) < MaxExportRows && size < exportBytes {
		blocks, err := a.Blocks(after, exportStep)
		if err != nil {
			return nil, false, err
		}
		for _, b := range blocks {
			if b.Height > state.Height {
				blocks = blocks[:0]
				break
			}
			row := ExportRow{Block: b}
			if row.Evidence, err = a.evidenceOf(b); err != nil {
				return nil, false, err
			}
			n := rowSize(row)
			if len(rows) > 0 && size+n > exportBytes || len(rows) == MaxExportRows {
				return rooted(rows, b.Seed), true, nil
			}
			rows, after, size = append(rows, row), b.Height, size+n
		}
		if len(blocks) == 0 {
			break
		}
	}
	next, err := a.Blocks(after, 1)
	if err != nil {
		return nil, false, err
	}
	if len(next) > 0 && next[0].Height <= state.Height {
		return rooted(rows, next[0].Seed), true, nil
	}
	return rooted(rows, state.Root), false, nil
}

// rooted gives each row its root: the state changes only in blocks that have a
// row, so it is the one before the next row.
func rooted(rows []ExportRow, last [32]byte) []ExportRow {
	for i := range rows {
		rows[i].Root = last
		if i+1 < len(rows) {
			rows[i].Root = rows[i+1].Block.Seed
		}
	}
	return rows
}

func rowSize(r ExportRow) int {
	n := 256
	for _, op := range r.Block.Ops {
		n += len(op) + 8
	}
	for _, e := range r.Evidence {
		n += len(e.Proof) + 256
	}
	return n
}

// evidenceOf returns the evidence that a block proved.
func (a *App) evidenceOf(b BlockRecord) ([]EvidenceRecord, error) {
	if len(b.Faults) == 0 {
		return nil, nil
	}
	list, err := a.Evidence(b.Height-1, len(b.Faults))
	if err != nil {
		return nil, fmt.Errorf("evidence of block %d: %w", b.Height, err)
	}
	for i, e := range list {
		if e.Height != b.Height {
			return list[:i], nil
		}
	}
	return list, nil
}
