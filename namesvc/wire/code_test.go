package wire_test

import (
	"errors"
	"flag"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/confab-chat/confab/internal/vectors"
	"github.com/confab-chat/confab/namesvc/wire"
)

var update = flag.Bool("update", false, "rewrite vectors")

// TestCode_TableIsFrozen compares the whole table with the file.
func TestCode_TableIsFrozen(t *testing.T) {
	f := vectors.File{About: "The kinds of errors where they cross a boundary, with the number, the HTTP status, the\n" +
		"exit status of a command, and whether the same request may succeed later."}
	for c := wire.Invalid; c <= wire.Internal; c++ {
		f.Vectors = append(f.Vectors, vectors.Vector{Name: c.String(), Fields: []vectors.Field{
			{Name: "number", Value: fmt.Sprint(uint8(c))}, {Name: "http", Value: fmt.Sprint(c.HTTPStatus())},
			{Name: "exit", Value: fmt.Sprint(c.ExitStatus())}, {Name: "retry", Value: fmt.Sprint(c.Retry())},
		}})
		if wire.CodeNamed(c.String()) != c {
			t.Errorf("%v does not read back", c)
		}
	}
	if err := vectors.Compare(filepath.Join("../../docs/vectors", "error_kinds.txt"), f, *update); err != nil {
		t.Error(err)
	}
}

func TestCode_WhatIsUnknownIsInternal(t *testing.T) {
	if wire.CodeNamed("") != wire.Internal || wire.CodeNamed("teapot") != wire.Internal {
		t.Error("an unknown name is some other kind")
	}
	for _, c := range []wire.Code{0, wire.Internal + 1, 255} {
		if c.String() != "internal" || c.HTTPStatus() != 500 || c.ExitStatus() != 18 || !c.Retry() {
			t.Errorf("code %d is %v", uint8(c), c)
		}
	}
	exits := map[int]bool{}
	for c := wire.Invalid; c <= wire.Internal; c++ {
		if e := c.ExitStatus(); e < 3 || e > 125 || exits[e] {
			t.Errorf("%v ends a command with %d", c, e)
		}
		exits[c.ExitStatus()] = true
	}
}

func TestCodeOf_FindsTheOutermostKind(t *testing.T) {
	cause := errors.New("cause")
	inner := wire.Errorf(wire.Stale, "inner: %w", cause)
	outer := wire.Errorf(wire.Invalid, "outer: %w", inner)
	for name, c := range map[string]struct {
		err  error
		want wire.Code
	}{
		"nil": {nil, 0}, "unknown": {cause, wire.Internal}, "inner": {inner, wire.Stale}, "outer": {outer, wire.Invalid},
		"wrapped": {fmt.Errorf("more: %w", inner), wire.Stale},
	} {
		if got := wire.CodeOf(c.err); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
	if !errors.Is(outer, cause) || outer.Error() != "outer: inner: cause" {
		t.Errorf("the cause is lost: %v", outer)
	}
	if wire.Errorf(wire.Exists, "plain %d", 1).Unwrap() != nil {
		t.Error("a cause came from nowhere")
	}
}

// TestTags_NoneIsAPrefixOfAnother: else bytes signed for one purpose could pass
// for another with other bytes.
func TestTags_NoneIsAPrefixOfAnother(t *testing.T) {
	tags := []wire.Tag{
		wire.TagOp, wire.TagDevice, wire.TagAcceptance, wire.TagCommit, wire.TagWork, wire.TagNextRoot, wire.TagTie, wire.TagRequest, wire.TagPossession,
	}
	for i, a := range tags {
		if !strings.HasPrefix(string(a), "confab/") || strings.Index(string(a), "\n") != len(a)-1 {
			t.Errorf("%q does not end in its only newline", a)
		}
		for j, b := range tags {
			if i != j && strings.HasPrefix(string(b), string(a)) {
				t.Errorf("%q is a prefix of %q", a, b)
			}
		}
		if got := string(a.Message([]byte("x"))); got != string(a)+"x" {
			t.Errorf("the message is %q", got)
		}
		if a.Sum([]byte("x"), []byte("y")) != a.Sum([]byte("xy")) {
			t.Errorf("%q: the parts are not hashed in turn", a)
		}
	}
}
