package query

import (
	"crypto/sha256"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"sort"
	"strconv"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// opRow is an op with what became of it.
type opRow struct {
	Time    moment
	Height  uint64
	Block   string // address of its block's page
	Kind    string
	Handle  string // that a register op asks for
	Account string // short, empty for a commit
	Page    string // address of the account's page
	ID      string // short
	Receipt string // address
	Refused string // the law's code, empty if it was accepted
	Size    int
	Proof   proof
}

// parcel is an op as far as a page shows it. Its signature was checked when the
// op came into its block, and is not checked again for each who looks.
type parcel struct {
	_         struct{} `cbor:",toarray"`
	Payload   []byte
	Signature []byte
}

// opRow describes an op of a block.
func (l links) opRow(raw []byte, height, time uint64, code namesvc.RejectCode) opRow {
	id := namesvc.OpID(sha256.Sum256(raw))
	text := strconv.FormatUint(height, 10)
	row := opRow{
		Time: at(time), Height: height, Block: l.To("/explorer/blocks/" + text), Kind: "not readable", Size: len(raw),
		ID: short(id[:]), Receipt: "/v1/ops/" + id.String() + "?format=json", Proof: l.head(height),
	}
	if code != namesvc.Accepted {
		row.Refused = code.String()
	}
	var p parcel
	if wire.Decode(raw, &p, namesvc.MaxOp) != nil {
		return row
	}
	var commit namesvc.Commit
	var op namesvc.Op
	switch {
	case len(p.Signature) == 0 && wire.Decode(p.Payload, &commit, namesvc.MaxOp) == nil:
		row.Kind = commit.Kind.String()
		if code == namesvc.Accepted {
			hash := namesvc.OpID(commit.Hash) // in hexadecimal digits
			row.Proof = l.proof("this commit", "commit-"+hash.String()[:12], "commit", hash.String())
		}
	case len(p.Signature) != 0 && wire.Decode(p.Payload, &op, namesvc.MaxOp) == nil:
		row.Kind, row.Account, row.Page = op.Kind.String(), short(op.Account[:]), l.To("/explorer/accounts/"+op.Account.String())
		if code == namesvc.Accepted {
			row.Proof = l.accountProof(op.Account)
		}
		var r namesvc.Registration
		if op.Kind == namesvc.OpRegister && wire.Decode(op.Body, &r, namesvc.MaxOp) == nil && r.Handle != "" {
			row.Handle = r.Handle.String()
		}
	}
	return row
}

// accountProof returns where the proof of an account is: its entry names its last
// op and commits to all before.
func (l links) accountProof(id namesvc.AccountID) proof {
	return l.proof("account "+short(id[:]), "account-"+id.String()[:12], "account", id.String(), "devices", "1", "serving", "1")
}

// place is a position among the ops: the one of this index in the block of this
// height. An index of 0 is before all of the block's ops.
type place struct{ Height, Index uint64 }

// opList is a page of ops.
type opList struct {
	Rows         []opRow
	From         uint64 // height down to which this page has looked
	Newer, Older string
}

func (x *explorer) ops(r *http.Request, l links) (sheet, error) {
	mark, _ := x.App.Last()
	newest := place{Height: mark.Height + 1}
	before, err := parsePlace(r.URL.Query(), newest)
	if err != nil {
		return sheet{}, err
	}
	list, err := x.recent(l, before, rowsPerPage)
	if err != nil {
		return sheet{}, err
	}
	if before != newest {
		list.Newer = l.To("/explorer/ops")
	}
	return sheet{file: "ops", title: "Recent operations", body: list}, nil
}

// parsePlace reads the place before which a page is to look.
func parsePlace(q url.Values, newest place) (place, error) {
	if !q.Has("height") {
		return newest, nil
	}
	var p place
	for name, into := range map[string]*uint64{"height": &p.Height, "index": &p.Index} {
		var err error
		if *into, err = number(q.Get(name)); err != nil {
			return place{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if p.Height > newest.Height {
		return newest, nil
	}
	return p, nil
}

// recent returns the newest ops before a place, at most limit. It may find fewer,
// or none, and leave older ones for the next page: a page reads only so much.
func (x *explorer) recent(l links, before place, limit int) (opList, error) {
	var list opList
	older := func(p place) {
		list.From = p.Height
		list.Older = l.To("/explorer/ops", "height", strconv.FormatUint(p.Height, 10), "index", strconv.FormatUint(p.Index, 10))
	}
	var unseen uint64
	for b, err := range backwards(x.App.Blocks, before.Height, &unseen) {
		if err != nil {
			return opList{}, err
		}
		n := len(b.Ops)
		if b.Height == before.Height {
			n = int(min(before.Index, uint64(n)))
		}
		for i := n - 1; i >= 0; i-- {
			if len(list.Rows) == limit {
				older(place{b.Height, uint64(i + 1)})
				return list, nil
			}
			list.Rows = append(list.Rows, l.opRow(b.Ops[i], b.Height, b.Time, codeOf(b, i)))
		}
	}
	if unseen > 0 {
		older(place{Height: unseen + 1})
	}
	return list, nil
}

func codeOf(b chain.BlockRecord, i int) namesvc.RejectCode {
	if i < len(b.Codes) {
		return b.Codes[i]
	}
	return namesvc.Accepted
}

const (
	// stride is how many heights are read at once: a block may be megabytes.
	stride = 4
	// maxStrides bounds how often one page reads, some 25 µs each. Over heights with
	// few records the strides grow, so that a chain that nobody uses is looked through
	// too, but at every checkpoint there is one: a thousand of them are passed.
	maxStrides = 512
	// maxRead bounds the bytes of ops that one page reads, which may all be of one
	// block's worth that it has shown already.
	maxRead = 16 << 20
)

// backwards yields the records of blocks from a height on down, newest first. It
// ends after maxStrides reads or maxRead bytes; unseen is then the height of the newest block that
// it has not looked at, or 0.
func backwards(blocks func(after uint64, limit int) ([]chain.BlockRecord, error), from uint64, unseen *uint64) iter.Seq2[chain.BlockRecord, error] {
	return func(yield func(chain.BlockRecord, error) bool) {
		*unseen = from
		span := uint64(stride) // so many heights are looked at next
		read := 0
		for range maxStrides {
			top := *unseen
			if top == 0 || read > maxRead {
				return
			}
			below := top - min(span, top)
			rows, err := blocks(below, stride)
			if err != nil {
				yield(chain.BlockRecord{}, err)
				return
			}
			for _, b := range rows {
				for _, op := range b.Ops {
					read += len(op)
				}
			}
			whole := len(rows) < stride || rows[len(rows)-1].Height >= top
			if !whole && span > stride {
				span = max(span/2, stride) // there is much in these heights: look closer
				continue
			}
			n := sort.Search(len(rows), func(i int) bool { return rows[i].Height > top })
			for i := n - 1; i >= 0; i-- {
				if !yield(rows[i], nil) {
					return
				}
			}
			*unseen = below
			if n <= 1 {
				span *= 2
			}
		}
	}
}

// blockView is a block's record with some of its ops.
type blockView struct {
	Height     uint64
	Time       moment
	Known      bool   // there is a record of it: it had ops or a checkpoint
	Before     uint64 // where this validator's records begin, if that is after the block
	Seed       string
	Checkpoint uint64 // that it recorded, or 0
	Total      int
	First      int // number of the first op shown
	Ops        []opRow
	Proof      proof
	Previous   string
	Next       string
	Ahead      string // of this page, if the block has more ops
	Back       string
}

func (x *explorer) block(r *http.Request, l links) (sheet, error) {
	height, err := number(r.PathValue("height"))
	if err != nil {
		return sheet{}, err
	}
	from, err := number(r.URL.Query().Get("from"))
	if err != nil {
		return sheet{}, fmt.Errorf("from: %w", err)
	}
	mark, _ := x.App.Last()
	if height == 0 || height > mark.Height {
		return sheet{}, wire.Errorf(wire.NotFound, "there is no block %d yet; the newest is %d", height, mark.Height)
	}
	rec, known, err := x.App.Block(height)
	if err != nil {
		return sheet{}, err
	}
	path := func(h uint64) string { return "/explorer/blocks/" + strconv.FormatUint(h, 10) }
	v := blockView{Height: height, Known: known, Total: len(rec.Ops), Proof: l.head(height)}
	if height > 1 {
		v.Previous = l.To(path(height - 1))
	}
	p := sheet{file: "block", title: fmt.Sprintf("Block %d", height)}
	if height < mark.Height {
		v.Next, p.cache = l.To(path(height+1)), cacheBlock
	}
	if !known {
		if begin := x.App.From(); height < begin {
			v.Before = begin
		}
		v.Time, err = x.headTime(height)
		p.body = v
		return p, err
	}
	v.Time, v.Seed = at(rec.Time), short(rec.Seed[:])
	if rec.Checkpoint != nil {
		v.Checkpoint = rec.Checkpoint.Number
	}
	first := int(min(from, uint64(len(rec.Ops))))
	last := min(first+rowsPerPage, len(rec.Ops))
	for i := first; i < last; i++ {
		v.Ops = append(v.Ops, l.opRow(rec.Ops[i], height, rec.Time, codeOf(rec, i)))
	}
	v.First = first + 1
	if last < len(rec.Ops) {
		v.Ahead = l.To(path(height), "from", strconv.Itoa(last))
	}
	if first > 0 {
		v.Back = l.To(path(height), "from", strconv.Itoa(max(first-rowsPerPage, 0)))
	}
	p.body = v
	return p, nil
}

// headTime returns the time of a block that has no record. An old one may be
// gone; then the page says nothing of its time.
func (x *explorer) headTime(height uint64) (moment, error) {
	head, _, err := x.Heads.Head(height)
	switch {
	case wire.CodeOf(err) == wire.NotFound:
		return moment{}, nil
	case err != nil:
		return moment{}, err
	}
	return at(uint64(head.Header.Time.Seconds)), nil
}
