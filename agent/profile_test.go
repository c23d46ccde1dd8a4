package agent_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/stream/chunk"
)

func TestProfile_TakesTextOfAllScripts(t *testing.T) {
	for _, p := range []agent.Profile{
		{Version: 1},
		{Version: 1, Name: "Zoë", About: "likes tea\nand rain"},
		{Version: 1, Name: "علی\u200cرضا", About: "שלום"},                                                     // with a zero-width non-joiner
		{Version: 1, Name: "👩\u200d🚀 \U0001F3F4\U000E0067\U000E0062\U000E0065\U000E006E\U000E0067\U000E007F"}, // joined, and England's flag
		{Version: 1, Name: "\u0600١٢"},                                                                        // a sign that stands before a number
		{Version: 1, Name: strings.Repeat("x", agent.MaxProfileName), About: strings.Repeat("ä", agent.MaxProfileAbout/2)},
	} {
		if err := p.Check(); err != nil {
			t.Errorf("%q: %v", p.Name, err)
			continue
		}
		got, err := agent.DecodeProfile(p.Encode(), p.ID())
		if err != nil || got != p {
			t.Errorf("%q became %q (%v)", p.Name, got.Name, err)
		}
	}
}

func TestProfile_RefusesWhatCannotBeSeen(t *testing.T) {
	for name, r := range map[string]string{
		"tab": "\t", "escape": "\x1b[31m", "null": "\x00", "delete": "\x7f", "C1": "\u0085",
		"right-to-left override": "\u202e", "left-to-right mark": "\u200e", "isolate": "\u2066", "Arabic letter mark": "\u061c",
		"line separator": "\u2028", "paragraph separator": "\u2029",
		"zero-width space": "\u200b", "byte order mark": "\ufeff", "soft hyphen": "\u00ad", "word joiner": "\u2060",
		"interlinear": "\ufff9", "noncharacter": "\uffff", "not UTF-8": "\xff",
	} {
		for _, p := range []agent.Profile{{Version: 1, Name: "a" + r + "b"}, {Version: 1, About: "a" + r + "b"}} {
			if err := p.Check(); wire.CodeOf(err) != wire.Invalid {
				t.Errorf("%s in %+q: %v", name, p, err)
			}
		}
	}
	if err := (agent.Profile{Version: 1, Name: "two\nlines"}).Check(); err == nil {
		t.Error("a name has two lines")
	}
	for _, p := range []agent.Profile{
		{}, {Version: 2}, {Version: 1, Name: strings.Repeat("x", agent.MaxProfileName+1)},
		{Version: 1, About: strings.Repeat("x", agent.MaxProfileAbout+1)},
	} {
		if err := p.Check(); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%.20q: %v", p, err)
		}
	}
}

func TestDecodeProfile_TakesOnlyTheOneThatIsNamed(t *testing.T) {
	p := agent.Profile{Version: 1, Name: "Zoë"}
	b := p.Encode()
	for name, c := range map[string]struct {
		b    []byte
		hash [32]byte
	}{
		"another hash":  {b, [32]byte{}},
		"another":       {agent.Profile{Version: 1, Name: "Eve"}.Encode(), p.ID()},
		"empty":         {nil, idOf(nil)},
		"with a tail":   {append(bytes.Clone(b), 0), idOf(append(bytes.Clone(b), 0))},
		"cut":           {b[:len(b)-1], idOf(b[:len(b)-1])},
		"not canonical": {[]byte{0x83, 0x18, 1, 0x60, 0x60}, idOf([]byte{0x83, 0x18, 1, 0x60, 0x60})},
		"not allowed":   {agent.Profile{Version: 1, Name: "\u202e"}.Encode(), agent.Profile{Version: 1, Name: "\u202e"}.ID()},
	} {
		if _, err := agent.DecodeProfile(c.b, c.hash); wire.CodeOf(err) != wire.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// idOf returns the id of a document; of an empty one there is none.
func idOf(b []byte) chunk.ID {
	id, _ := agent.DocumentID(b)
	return id
}

// FuzzDecodeProfile checks that what is taken is what would be written, and
// passes the check.
func FuzzDecodeProfile(f *testing.F) {
	f.Add(agent.Profile{Version: 1, Name: "Zoë", About: "tea\n"}.Encode())
	f.Add([]byte{0x83, 1, 0x60, 0x60})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := agent.DecodeProfile(b, idOf(b))
		if err != nil {
			if wire.CodeOf(err) != wire.Invalid {
				t.Errorf("the error is of kind %v: %v", wire.CodeOf(err), err)
			}
			return
		}
		if p.Check() != nil || !bytes.Equal(p.Encode(), b) || p.ID() != idOf(b) {
			t.Errorf("%x was taken as %+q", b, p)
		}
	})
}
