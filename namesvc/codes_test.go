package namesvc_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// codes returns all reject codes, and first of all Accepted.
func codes() []namesvc.RejectCode {
	var out []namesvc.RejectCode
	for c := namesvc.Accepted; !strings.HasPrefix(c.String(), "reject-"); c++ {
		out = append(out, c)
	}
	return out
}

// TestRejectCodes_AreFrozen compares the table with the file.
func TestRejectCodes_AreFrozen(t *testing.T) {
	f := vectors.File{About: "The codes of receipts, with the kind of error that each is at a boundary, and its text."}
	names := map[string]bool{}
	for _, c := range codes() {
		if names[c.String()] {
			t.Errorf("two codes are %v", c)
		}
		names[c.String()] = true
		kind := "none"
		if c != namesvc.Accepted {
			kind = c.Kind().String()
		}
		f.Vectors = append(f.Vectors, vectors.Vector{Name: c.String(), Fields: []vectors.Field{
			field("number", "%d", uint32(c)), field("kind", "%s", kind), field("text", "%s", (&namesvc.Reject{Code: c}).Error()),
		}})
	}
	if len(names) < 40 {
		t.Errorf("only %d codes", len(names))
	}
	if err := vectors.Compare(filepath.Join(vectorsDir, "reject_codes.txt"), f, *update); err != nil {
		t.Error(err)
	}
}

// TestRejectCode_UnknownOnesCanBeTold: a client may be older than the chain.
func TestRejectCode_UnknownOnesCanBeTold(t *testing.T) {
	c := namesvc.RejectCode(len(codes()))
	if c.Kind() != wire.Invalid || c.String() != fmt.Sprintf("reject-%d", c) {
		t.Errorf("%v is %v", c, c.Kind())
	}
	r := &namesvc.Reject{Code: namesvc.HandleTaken, Detail: "@alice"}
	if r.Error() != "the handle is taken: @alice" {
		t.Error(r)
	}
}
