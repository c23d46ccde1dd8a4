package query

import (
	"net/http"

	"github.com/confab-chat/confab/chain"
)

// Export is a page of the chain's record. Who has it all goes on with the last
// row's height as after, and waits; what came is never taken back, so an
// interrupted reader goes on where it was.
type Export struct {
	_      struct{} `cbor:",toarray"`
	From   uint64   // the first height whose record this server has
	Height uint64   // of the newest block; rows up to it may be on later pages
	Rows   []chain.ExportRow
	More   bool // there are more rows now
}

func (d *door) export(r *http.Request) (any, error) {
	after, err := number(r.URL.Query().Get("after"))
	if err != nil {
		return nil, err
	}
	var e Export
	var failed error
	werr := d.wait(r, func() bool {
		last, _ := d.App.Last()
		e = Export{From: d.App.From(), Height: last.Height}
		e.Rows, e.More, failed = d.App.Export(after)
		return failed != nil || len(e.Rows) > 0
	})
	if failed != nil {
		return nil, failed
	}
	if len(e.Rows) == 0 && werr != nil && werr != errNotYet {
		return nil, werr
	}
	return e, nil // an empty page says how far the chain is
}
