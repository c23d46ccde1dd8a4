package message_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/confab-chat/confab/talk/message"
)

func TestCheckText_TakesWhatPeopleWrite(t *testing.T) {
	for _, s := range []string{
		"", "plain", "two\nlines\tand a tab", "مرحبا، كيف حالك؟", "👩‍👩‍👧‍👦 🏳️‍🌈", "a\u200eb\u2067c\u2069", "\u202bpasted\u202c", "Z̤͔ͧ̑a", "\ue000 private",
	} {
		if err := message.CheckText(s, 100); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	if message.CheckText("éé", 3) == nil || message.CheckText("éé", 4) != nil {
		t.Error("the limit is not one of bytes")
	}
}

func TestDisplay_KeepsDirectionWithinItsLine(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                     "plain",
		"\u202eabc":                 "abc",
		"\u202a\u202b\u202da\u202c": "a",
		"\u2067a":                   "\u2067a\u2069",
		"\u2067a\nb":                "\u2067a\u2069\nb",
		"a\u2069b":                  "ab",
		"\u2066\u2068a\u2069":       "\u2066\u2068a\u2069\u2069",
		"\u2066a\u2069\u2069b":      "\u2066a\u2069b",
		"\u200ea\u200f\u061c":       "\u200ea\u200f\u061c",
	} {
		if got := message.Display(in); got != want {
			t.Errorf("%q shows as %q, want %q", in, got, want)
		}
	}
}

func FuzzDisplay(f *testing.F) {
	f.Add("a\u2067b\n\u2069c\u202e\r\n\x1b")
	f.Fuzz(func(t *testing.T, s string) {
		clean := message.Clean(s)
		if err := message.CheckText(clean, math.MaxInt); err != nil {
			t.Fatalf("%q is cleaned to %q: %v", s, clean, err)
		}
		if message.CheckText(s, math.MaxInt) == nil && clean != s {
			t.Errorf("%q needs no cleaning and became %q", s, clean)
		}
		shown := message.Display(clean)
		if message.Display(shown) != shown || !utf8.ValidString(shown) {
			t.Errorf("%q does not stay as it is", shown)
		}
		for line := range strings.SplitSeq(shown, "\n") {
			opened := strings.Count(line, "\u2066") + strings.Count(line, "\u2067") + strings.Count(line, "\u2068")
			if strings.ContainsAny(line, "\u202a\u202b\u202c\u202d\u202e") || opened != strings.Count(line, "\u2069") {
				t.Errorf("the line %q reaches beyond its end", line)
			}
		}
	})
}

func TestPad_HidesSizesInFewBuckets(t *testing.T) {
	sizes := map[int]bool{}
	last := 0
	for n := range message.MaxEvent + 1 {
		size := message.PaddedSize(n)
		if size < last || size < n+4 || size > message.MaxPadded {
			t.Fatalf("%d bytes are padded to %d after %d", n, size, last)
		}
		// Padmé's promise is 12 % of what is above the buckets.
		if n > 2048 && float64(size) > 1.12*float64(n+4) {
			t.Fatalf("%d bytes cost %d", n, size)
		}
		last, sizes[size] = size, true
	}
	for n, want := range map[int]int{0: 512, 508: 512, 509: 1024, 1020: 1024, 1021: 2048, 2044: 2048, 2045: 2176, 10_000: 10_240, 49_152: 51_200} {
		if got := message.PaddedSize(n); got != want {
			t.Errorf("%d bytes are padded to %d, want %d", n, got, want)
		}
	}
	// Three buckets, then 16 steps for each doubling.
	if len(sizes) != 76 {
		t.Errorf("%d sizes tell events apart, want 76", len(sizes))
	}
}

func TestUnpad_ReadsOnlyWhatPadWrites(t *testing.T) {
	for _, n := range []int{0, 1, 507, 508, 509, 2044, 2045, 9999, message.MaxEvent} {
		content := bytes.Repeat([]byte{7}, n)
		p, err := message.Pad(content)
		if err != nil || len(p) != message.PaddedSize(n) {
			t.Fatalf("%d: %v", n, err)
		}
		got, err := message.Unpad(p)
		if err != nil || !bytes.Equal(got, content) || cap(got) != n {
			t.Fatalf("%d: %v", n, err)
		}
		for name, bad := range map[string][]byte{
			"longer": append(bytes.Clone(p), 0), "shorter": p[:len(p)-1], "next bucket": append(bytes.Clone(p), make([]byte, len(p))...),
		} {
			if _, err := message.Unpad(bad); err == nil {
				t.Errorf("%d: %s: accepted", n, name)
			}
		}
		if len(p) > n+4 {
			bad := bytes.Clone(p)
			bad[len(bad)-1] = 1
			if _, err := message.Unpad(bad); err == nil {
				t.Errorf("%d: something hides in the padding", n)
			}
		}
	}
	if _, err := message.Pad(make([]byte, message.MaxEvent+1)); err == nil {
		t.Error("too much content is padded")
	}
}

func FuzzUnpad(f *testing.F) {
	p, _ := message.Pad([]byte("content"))
	f.Add(p)
	f.Add([]byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		content, err := message.Unpad(b)
		if err != nil {
			return
		}
		if again, err := message.Pad(content); err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x does not pad back: %v", b, err)
		}
	})
}
