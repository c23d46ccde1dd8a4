package message_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
	"github.com/confab-chat/confab/talk/message"
)

// account, author and id fill in bytes that are easy to tell apart.
func account(b byte) (a namesvc.AccountID) { return [32]byte(bytes.Repeat([]byte{b}, 32)) }

func author(a, d byte) message.Author {
	return message.Author{Account: account(a), Device: key.Public(bytes.Repeat([]byte{d}, 32))}
}

func id(n uint64) (i message.ID) {
	binary.BigEndian.PutUint64(i[24:], n)
	i[0] = 0x1d
	return i
}

func room() message.ConversationID {
	return message.Direct(message.Party{Account: account(0xa1), Generation: 1}, message.Party{Account: account(0xb0), Generation: 2})
}

func at() time.Time { return time.UnixMilli(1_800_000_000_123) }

func ref() message.Ref {
	return message.Ref{Root: account(0xf1), Key: message.FileKey(account(0xf2)), Size: 123456, Type: "image/svg+xml"}
}

// bodies has one of each kind, in the order of their numbers.
func bodies() []message.Body {
	r := ref()
	return []message.Body{
		message.Text{Text: "Hello, world.\n\tשלום 👋"},
		message.Reply{To: id(1), Text: "And to you."},
		message.Reaction{To: id(1), Emoji: "👍🏽", On: true},
		message.Edit{To: id(1), Text: "Hello, World."},
		message.Delete{To: id(1)},
		message.Receipt{Reached: []message.Reached{{Author: author(0xa1, 1), Delivered: 9, Read: 7}, {Author: author(0xa1, 2), Delivered: 300}}},
		message.Typing{Seconds: 10},
		message.File{Ref: ref(), Name: "ein Bild.svg", Thumbnail: []byte{1, 2, 3}, Text: "look"},
		message.Profile{Name: "Alice Example", About: "I am", Avatar: &r},
		message.ContactRequest{From: message.Party{Account: account(0xa1), Generation: 1}, Name: "Alice", Greeting: "We met in Prague.", Reach: []byte{9, 9}},
		message.ContactAnswer{To: id(2), Accepted: true, Reach: []byte{8}},
		message.Moved{Concierge: message.Party{Account: account(0xcc), Generation: 3}, EntrySeq: 12, Reach: []byte{7}},
		message.Resend{Ranges: []message.Range{{Author: author(0xa1, 1), From: 3, To: 5}, {Author: author(0xa1, 1), From: 7, To: 7}}},
		message.Extension{Number: message.FirstLater, Shown: "Alice began a poll: tea or coffee?", Data: []byte{0xa0}},
		message.Extension{Number: 0xffff},
	}
}

func place(k message.Kind) message.Place {
	if !k.Chained() {
		return message.Place{}
	}
	return message.Place{Seq: 2, Prev: id(7), Clock: 40}
}

func event(t testing.TB, body message.Body) message.Event {
	t.Helper()
	e, err := message.New(room(), author(0xa1, 1), place(body.Kind()), at(), body)
	if err != nil {
		t.Fatalf("%v: %v", body.Kind(), err)
	}
	return e
}

func TestNew_MakesWhatDecodeReads(t *testing.T) {
	seen := map[message.ID]bool{}
	for _, body := range bodies() {
		e := event(t, body)
		got, err := message.Decode(e.Bytes())
		if err != nil {
			t.Fatalf("%v: %v", body.Kind(), err)
		}
		if got.ID() != e.ID() || got.Author != e.Author || got.Place != e.Place || got.Time != uint64(at().UnixMilli()) || got.Conversation != room() {
			t.Errorf("%v: the envelope changed", body.Kind())
		}
		if fmt.Sprintf("%#v", got.Body) != fmt.Sprintf("%#v", body) && body.Kind() != 0xffff && body.Kind() != message.KindProfile {
			t.Errorf("%v: got %#v, want %#v", body.Kind(), got.Body, body)
		}
		if seen[e.ID()] {
			t.Errorf("%v: an id twice", body.Kind())
		}
		seen[e.ID()] = true
	}
}

func TestDecode_RefusesEveryFlippedBitThatChangesTheShape(t *testing.T) {
	for _, body := range bodies() {
		good := event(t, body)
		for i := range good.Bytes() {
			if _, err := message.Decode(good.Bytes()[:i]); err == nil {
				t.Errorf("%v: cut off at byte %d it is accepted", body.Kind(), i)
			}
			for bit := range 8 {
				bad := bytes.Clone(good.Bytes())
				bad[i] ^= 1 << bit
				// Many a bit makes another valid event, which must have another id.
				if e, err := message.Decode(bad); err == nil && (e.ID() == good.ID() || !bytes.Equal(e.Bytes(), bad)) {
					t.Errorf("%v: byte %d, bit %d: another event has the same id", body.Kind(), i, bit)
				}
			}
		}
		if _, err := message.Decode(append(bytes.Clone(good.Bytes()), 0)); err == nil {
			t.Errorf("%v: with a byte more it is accepted", body.Kind())
		}
	}
}

func TestDecode_KeepsNothingOfTheCallersMemory(t *testing.T) {
	b := bytes.Clone(event(t, message.Text{Text: "mine"}).Bytes())
	e, err := message.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	clear(b)
	if again, err := message.Decode(e.Bytes()); err != nil || again.ID() != e.ID() {
		t.Errorf("the event changed with the caller's buffer: %v", err)
	}
}

// bad has bodies that must be refused.
func bad() map[string]message.Body {
	long := func(n int) string { return strings.Repeat("x", n) }
	with := func(change func(*message.File)) message.Body {
		f := message.File{Ref: ref(), Name: "a"}
		change(&f)
		return f
	}
	rec := func(r ...message.Reached) message.Body { return message.Receipt{Reached: r} }
	a1, a2 := author(0xa1, 1), author(0xa1, 2)
	many := make([]message.Range, message.MaxRanges+1)
	for i := range many {
		many[i] = message.Range{Author: a1, From: uint64(3*i + 1), To: uint64(3*i + 1)}
	}
	return map[string]message.Body{
		"empty text": message.Text{}, "blank text": message.Text{Text: " \n\t"}, "long text": message.Text{Text: long(message.MaxText + 1)},
		"text with escape": message.Text{Text: "\x1b[2J"}, "text with NUL": message.Text{Text: "a\x00"}, "text with return": message.Text{Text: "a\rb"},
		"text with C1": message.Text{Text: "a\u009b31m"}, "text with delete": message.Text{Text: "a\x7f"}, "text with line separator": message.Text{Text: "a\u2028b"},
		"text with noncharacter": message.Text{Text: "a\ufffe"}, "text with plane's end": message.Text{Text: "a\U0010ffff"}, "text that is no UTF-8": message.Text{Text: "a\xff"},
		"reply to nothing": message.Reply{Text: "a"}, "reply without words": message.Reply{To: id(1)},
		"reaction without sign": message.Reaction{To: id(1)}, "reaction to nothing": message.Reaction{Emoji: "x"},
		"long reaction": message.Reaction{To: id(1), Emoji: long(65)}, "reaction that turns": message.Reaction{To: id(1), Emoji: "a\u202e"},
		"reaction of two lines": message.Reaction{To: id(1), Emoji: "a\nb"},
		"edit of nothing":       message.Edit{Text: "a"}, "edit to nothing": message.Edit{To: id(1)}, "delete of nothing": message.Delete{},
		"empty receipt": rec(), "receipt of nothing": rec(message.Reached{Author: a1}), "read before delivered": rec(message.Reached{Author: a1, Delivered: 1, Read: 2}),
		"receipt out of order": rec(message.Reached{Author: a2, Delivered: 1}, message.Reached{Author: a1, Delivered: 1}),
		"receipt twice":        rec(message.Reached{Author: a1, Delivered: 1}, message.Reached{Author: a1, Delivered: 2}),
		"receipt too far":      rec(message.Reached{Author: a1, Delivered: 1 << 53}),
		"typing for ever":      message.Typing{Seconds: 31},
		"file without name":    with(func(f *message.File) { f.Name = "" }), "file of a folder": with(func(f *message.File) { f.Name = "a/b" }),
		"file of a folder there": with(func(f *message.File) { f.Name = `a\b` }), "file up": with(func(f *message.File) { f.Name = ".." }),
		"file here": with(func(f *message.File) { f.Name = "." }), "file that turns": with(func(f *message.File) { f.Name = "gpj\u202eexe" }),
		"long file name": with(func(f *message.File) { f.Name = long(256) }), "large file": with(func(f *message.File) { f.Ref.Size = 1<<40 + 1 }),
		"large thumbnail": with(func(f *message.File) { f.Thumbnail = make([]byte, message.MaxThumbnail+1) }),
		"no media type":   with(func(f *message.File) { f.Ref.Type = "" }), "upper media type": with(func(f *message.File) { f.Ref.Type = "Image/png" }),
		"media type with parameters": with(func(f *message.File) { f.Ref.Type = "text/html; charset=x" }), "half a media type": with(func(f *message.File) { f.Ref.Type = "image/" }),
		"third of a media type": with(func(f *message.File) { f.Ref.Type = "a/b/c" }), "long media type": with(func(f *message.File) { f.Ref.Type = "a/" + long(126) }),
		"profile of two lines":        message.Profile{Name: "a\nb"},
		"profile that turns":          message.Profile{Name: "a\u2067b"},
		"profile with space":          message.Profile{Name: " a"},
		"long profile":                message.Profile{Name: long(message.MaxLine + 1)},
		"long about":                  message.Profile{About: long(message.MaxAbout + 1)},
		"profile with a bad avatar":   message.Profile{Avatar: &message.Ref{}},
		"request of nobody":           message.ContactRequest{Name: "a"},
		"request without generation":  message.ContactRequest{From: message.Party{Account: account(1)}},
		"request with a long address": message.ContactRequest{From: message.Party{Account: account(1), Generation: 1}, Reach: make([]byte, message.MaxReach+1)},
		"request with a long text":    message.ContactRequest{From: message.Party{Account: account(1), Generation: 1}, Greeting: long(message.MaxAbout + 1)},
		"answer to nothing":           message.ContactAnswer{Accepted: true},
		"refusal with an address":     message.ContactAnswer{To: id(1), Reach: []byte{1}},
		"moved by no entry":           message.Moved{Concierge: message.Party{Account: account(1), Generation: 1}},
		"moved nowhere":               message.Moved{EntrySeq: 1},
		"resend nothing":              message.Resend{},
		"resend from 0":               message.Resend{Ranges: []message.Range{{Author: a1, To: 1}}},
		"resend backwards":            message.Resend{Ranges: []message.Range{{Author: a1, From: 2, To: 1}}},
		"resend too much":             message.Resend{Ranges: []message.Range{{Author: a1, From: 1, To: message.MaxResend + 1}}},
		"resend what touches":         message.Resend{Ranges: []message.Range{{Author: a1, From: 1, To: 2}, {Author: a1, From: 3, To: 4}}},
		"resend out of order":         message.Resend{Ranges: []message.Range{{Author: a2, From: 1, To: 2}, {Author: a1, From: 1, To: 4}}},
		"resend many":                 message.Resend{Ranges: many},
		"extension among ours":        message.Extension{Number: 63, Shown: "a"},
		"extension with escape":       message.Extension{Number: 64, Shown: "\x1b"},
	}
}

func TestNew_RefusesBadBodies(t *testing.T) {
	for name, body := range bad() {
		if _, err := message.New(room(), author(0xa1, 1), place(body.Kind()), at(), body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestNew_RefusesBadPlaces(t *testing.T) {
	text, typing := message.Text{Text: "a"}, message.Typing{}
	for name, c := range map[string]struct {
		p    message.Place
		body message.Body
	}{
		"text without place":   {message.Place{}, text},
		"typing with place":    {message.Place{Seq: 1, Clock: 1}, typing},
		"typing with clock":    {message.Place{Clock: 1}, typing},
		"first with prev":      {message.Place{Seq: 1, Prev: id(1), Clock: 1}, text},
		"second without":       {message.Place{Seq: 2, Clock: 2}, text},
		"no clock":             {message.Place{Seq: 1}, text},
		"clock behind":         {message.Place{Seq: 3, Prev: id(1), Clock: 2}, text},
		"first clock too far":  {message.Place{Seq: 1, Clock: 1<<48 + 1}, text},
		"clock out of range":   {message.Place{Seq: 2, Prev: id(1), Clock: 1 << 53}, text},
		"number out of range":  {message.Place{Seq: 1 << 53, Prev: id(1), Clock: 1 << 53}, text},
		"nothing without body": {message.Place{Seq: 1, Clock: 1}, message.Text{}},
	} {
		if _, err := message.New(room(), author(1, 1), c.p, at(), c.body); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := message.New(room(), author(1, 1), message.Place{}, time.UnixMilli(253_402_300_800_000), typing); err == nil {
		t.Error("the year 10000: accepted")
	}
	if e, err := message.New(room(), author(1, 1), message.Place{}, time.Unix(-5, 0), typing); err != nil || e.Time != 0 {
		t.Errorf("a clock before 1970: %v, %v", e.Time, err)
	}
}

func TestLimits_TheLargestEventFitsItsBound(t *testing.T) {
	if n := message.PaddedSize(message.MaxEvent); n > message.MaxPadded || n > 60<<10 {
		t.Errorf("the largest event has %d bytes padded", n)
	}
	f := message.File{Ref: ref(), Name: strings.Repeat("x", 255), Thumbnail: make([]byte, message.MaxThumbnail), Text: strings.Repeat("x", message.MaxText)}
	var reached []message.Reached
	for i := range message.MaxReceipts {
		reached = append(reached, message.Reached{Author: author(byte(i), 1), Delivered: 1<<53 - 1, Read: 1<<53 - 1})
	}
	for _, body := range []message.Body{f, message.Receipt{Reached: reached}, message.Extension{Number: 70, Shown: f.Text, Data: make([]byte, 30<<10)}} {
		e := event(t, body)
		if len(e.Bytes()) > message.MaxEvent {
			t.Errorf("%v has %d bytes", body.Kind(), len(e.Bytes()))
		}
	}
	if _, err := message.New(room(), author(1, 1), place(70), at(), message.Extension{Number: 70, Data: make([]byte, message.MaxEvent)}); !errors.Is(err, wire.ErrTooLarge) {
		t.Errorf("an event beyond the bound: %v", err)
	}
}

func TestFileKey_NeverPrints(t *testing.T) {
	f := message.File{Ref: ref(), Name: "a"}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d", "%q"} {
		for _, v := range []any{f, &f, f.Ref, f.Ref.Key, event(t, f).Body, event(t, f), message.View(event(t, f), nil)} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "f2f2") || strings.Contains(s, "242 242") || strings.Contains(s, "0xf2, 0xf2") {
				t.Errorf("%s shows the key: %s", verb, s)
			}
		}
	}
}

func TestDirect_IsOneForBothAndOthersForOthers(t *testing.T) {
	a, b := message.Party{Account: account(1), Generation: 1}, message.Party{Account: account(2), Generation: 1}
	if message.Direct(a, b) != message.Direct(b, a) {
		t.Error("both sides have their own")
	}
	again := b
	again.Generation = 2
	if message.Direct(a, b) == message.Direct(a, again) {
		t.Error("whoever took over the account gets the old conversation")
	}
	swapped := message.Direct(message.Party{Account: account(1), Generation: 2}, b)
	if swapped == message.Direct(a, again) {
		t.Error("generations are not bound to their accounts")
	}
}

func TestID_ReadsOnlyWhatItWrites(t *testing.T) {
	var got message.ID
	if err := got.UnmarshalText([]byte(id(5).String())); err != nil || got != id(5) {
		t.Errorf("%v, %v", got, err)
	}
	var c message.ConversationID
	for _, s := range []string{"", "1d", strings.ToUpper(id(0xabc).String()), id(5).String() + "00", strings.Repeat("zz", 32)} {
		if got.UnmarshalText([]byte(s)) == nil || c.UnmarshalText([]byte(s)) == nil {
			t.Errorf("%q is accepted", s)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, body := range bodies() {
		f.Add(event(f, body).Bytes())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := message.Decode(b)
		if err != nil {
			return
		}
		again, err := message.New(e.Conversation, e.Author, e.Place, time.UnixMilli(int64(e.Time)), e.Body)
		if err != nil || !bytes.Equal(again.Bytes(), b) {
			t.Errorf("%x does not encode back: %v", b, err)
		}
		message.View(e, []message.Event{e})
	})
}
