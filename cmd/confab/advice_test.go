package main

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/confab-chat/confab/lightclient/bundle"
	"github.com/confab-chat/confab/lightclient/verify"
	"github.com/confab-chat/confab/namesvc/wire"
)

func TestAdvise_SaysWhatToDo(t *testing.T) {
	var b bytes.Buffer
	e := newWorld(t).env(&b, &b)
	refused := wire.Errorf(wire.Unavailable, "%w", &net.OpError{Op: "dial", Net: "tcp", Err: fmt.Errorf("connection refused")})
	for _, c := range []struct {
		err  error
		want string
	}{
		{verify.ErrExpired, "Get a newer pin from somebody you\nbelieve"},
		{verify.ErrFuture, "Is the clock of this machine right? It says 2027-01-15T08:00:00Z."},
		{bundle.ErrStale, "The clock of this machine says 2027-01-15T08:00:00Z."},
		{bundle.ErrOrigin, "for one that begins at your pin"},
		{refused, "Is the network running, and this machine online?"},
		{verify.ErrConflict, ""},
		{wire.Errorf(wire.Unavailable, "the mempool is full"), ""},
		{wire.Errorf(wire.NotFound, "@x is not registered"), ""},
	} {
		got := e.advise(fmt.Errorf("resolve @alice: %w", wire.Errorf(wire.CodeOf(c.err), "no source: %w", c.err)))
		if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", c.err, got, c.want)
		}
		for line := range strings.SplitSeq(got, "\n") {
			if len(line) > 80 {
				t.Errorf("%v: a line of %d characters: %s", c.err, len(line), line)
			}
		}
	}
}
