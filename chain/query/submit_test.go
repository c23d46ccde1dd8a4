package query_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/chain"
	"github.com/confab-chat/confab/chain/query"
	"github.com/confab-chat/confab/chain/store"
	"github.com/confab-chat/confab/namesvc"
)

// TestSubmit_ReadsNoMoreThanAnOp sends a body without an end.
func TestSubmit_ReadsNoMoreThanAnOp(t *testing.T) {
	st, err := store.Open("state", store.Options{Chain: "confab-test", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	app, err := chain.New(st, "confab-test", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &query.Server{Chain: "confab-test", App: app, Store: st}
	body := &endless{}
	res := httptest.NewRecorder()
	s.Handler().ServeHTTP(res, httptest.NewRequest(http.MethodPost, "/v1/ops", body))
	if body.read > 4*namesvc.MaxOp || res.Code != http.StatusBadRequest {
		t.Errorf("%d bytes of it were read; status %d: %s", body.read, res.Code, res.Body)
	}
}

// endless is a body that never ends, but for the test's sake.
type endless struct{ read int }

func (e *endless) Read(b []byte) (int, error) {
	if e.read > 100<<20 {
		panic("all of it is read")
	}
	e.read += len(b)
	return len(b), nil
}
