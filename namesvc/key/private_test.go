package key_test

import (
	"bytes"
	"encoding/gob"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/confab-chat/confab/namesvc/key"
	"github.com/confab-chat/confab/namesvc/wire"
)

// leaks are the forms in which a secret of these bytes could turn up.
func leaks(secret []byte) []string {
	var decimal, spaced []string
	for _, b := range secret[:8] {
		decimal = append(decimal, fmt.Sprint(b))
		spaced = append(spaced, fmt.Sprintf("%#x", b))
	}
	h := hex.EncodeToString(secret[:8])
	return []string{
		h, strings.ToUpper(h), strings.Join(decimal, " "), strings.Join(decimal, ","), strings.Join(decimal, ", "),
		strings.Join(spaced, ", "), string(secret[:8]),
	}
}

// holder is somebody else's struct: fmt can call no method of what stands in an
// unexported field.
type holder struct {
	Name  string
	inner any
	root  key.Root
	list  []key.Device
	words key.Phrase
	Open  key.Server
}

// TestSecrets_NeverPrint prints, logs and marshals keys and phrases in every way
// there is, as they are and inside other values.
func TestSecrets_NeverPrint(t *testing.T) {
	seed := [key.SeedSize]byte{0xde, 0xad, 0xbe, 0xef, 0x55, 0x66, 0x77, 0x88, 0x99}
	root, device, server := key.RootFromSeed(seed), key.DeviceFromSeed(seed), key.ServerFromSeed(seed)
	phrase, err := key.NewPhrase(bytes.NewReader(seed[:]))
	if err != nil {
		t.Fatal(err)
	}
	h := holder{"me", root, root, []key.Device{device}, phrase, server}
	forbidden := leaks(seed[:])
	for word := range strings.FieldsSeq(phrase.Reveal()) {
		forbidden = append(forbidden, word)
	}
	for name, v := range map[string]any{
		"root": root, "device": device, "server": server, "phrase": phrase, "pointer": &root, "holder": h, "pointer to holder": &h,
		"mls signer": device.MLS(), "list": []key.Root{root}, "map": map[string]key.Phrase{"p": phrase}, "any": []any{device, &phrase, h},
		"error": fmt.Errorf("with %v: %w", root, errors.New("cause")),
	} {
		for _, text := range renderings(t, v) {
			for _, f := range forbidden {
				if strings.Contains(text, f) {
					t.Errorf("%s shows %q in %.200q", name, f, text)
				}
			}
		}
	}
}

// renderings are all ways in which a program may put v into text.
func renderings(t *testing.T, v any) []string {
	t.Helper()
	var out []string
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%p", "%e", "% x", "%#x", "%10.3v"} {
		out = append(out, fmt.Sprintf(verb, v))
	}
	var log bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("said", "value", v, slog.Group("g", "inner", v))
	}
	out = append(out, log.String())
	if b, err := json.Marshal(v); err == nil {
		out = append(out, string(b))
	}
	if b, err := cbor.Marshal(v); err == nil {
		out = append(out, string(b), hex.EncodeToString(b))
	}
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(v); err == nil {
		out = append(out, b.String())
	}
	return out
}

func TestSecrets_DoNotMarshal(t *testing.T) {
	for name, k := range map[string]interface {
		MarshalText() ([]byte, error)
		MarshalJSON() ([]byte, error)
		MarshalBinary() ([]byte, error)
		MarshalCBOR() ([]byte, error)
	}{"root": key.RootFromSeed([32]byte{1}), "device": key.DeviceFromSeed([32]byte{1}), "server": key.ServerFromSeed([32]byte{1})} {
		for i, f := range []func() ([]byte, error){k.MarshalText, k.MarshalJSON, k.MarshalBinary, k.MarshalCBOR} {
			if b, err := f(); err == nil || b != nil {
				t.Errorf("%s marshals, way %d", name, i)
			}
		}
		if _, err := json.Marshal(k); err == nil {
			t.Errorf("%s marshals as JSON", name)
		}
		if _, err := cbor.Marshal(k); err == nil {
			t.Errorf("%s marshals as CBOR", name)
		}
	}
}

// TestSecrets_CannotBeCompared: == on secrets invites timing leaks and keys of
// maps.
func TestSecrets_CannotBeCompared(t *testing.T) {
	for _, v := range []any{key.Root{}, key.Device{}, key.Server{}, key.Phrase{}} {
		if reflect.TypeOf(v).Comparable() {
			t.Errorf("%T can be compared with ==", v)
		}
	}
}

// TestKeys_SignOnlyWhatTheyAreFor lists the methods by which each type signs,
// and checks that none of its signatures passes for another purpose.
func TestKeys_SignOnlyWhatTheyAreFor(t *testing.T) {
	seed := [32]byte{7}
	root, device, server := key.RootFromSeed(seed), key.DeviceFromSeed(seed), key.ServerFromSeed(seed)
	for _, c := range []struct {
		of   any
		want []string
	}{
		{root, []string{"SignOp"}},
		{device, []string{"SignConsent", "SignKnock", "SignOp", "SignRequest"}},
		{server, []string{"SignAcceptance"}},
	} {
		var got []string
		for i := range reflect.TypeOf(c.of).NumMethod() {
			if name := reflect.TypeOf(c.of).Method(i).Name; strings.HasPrefix(name, "Sign") {
				got = append(got, name)
			}
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%T has %v, want %v", c.of, got, c.want)
		}
	}
	tags := []wire.Tag{wire.TagOp, wire.TagDevice, wire.TagAcceptance, wire.TagRequest, wire.TagKnock, ""}
	msg := []byte("message")
	for tag, sig := range map[wire.Tag]key.Signature{
		wire.TagOp: root.SignOp(msg), wire.TagDevice: device.SignConsent(msg),
		wire.TagRequest: device.SignRequest(msg), wire.TagAcceptance: server.SignAcceptance(msg), wire.TagKnock: device.SignKnock(msg),
	} {
		for _, other := range tags {
			if ok := key.Verify(root.Public(), other, msg, sig) == nil; ok != (other == tag) {
				t.Errorf("signed with %q, checked with %q: accepted is %v", tag, other, ok)
			}
		}
	}
}

func TestKeys_GrowFromTheirSeedAgain(t *testing.T) {
	for i := range 3 {
		r, err := key.NewRoot(bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 64)))
		if err != nil {
			t.Fatal(err)
		}
		d, err := key.NewDevice(bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 64)))
		if err != nil {
			t.Fatal(err)
		}
		s, err := key.NewServer(bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 64)))
		if err != nil {
			t.Fatal(err)
		}
		if key.RootFromSeed(r.Seed()).Public() != r.Public() || key.DeviceFromSeed(d.Seed()).Public() != d.Public() ||
			key.ServerFromSeed(s.Seed()).Public() != s.Public() {
			t.Error("a seed gives another key")
		}
		if !r.Public().Equal(d.Public()) || r.Public().Equal(key.Public{}) {
			t.Error("Equal is wrong")
		}
	}
	if _, err := key.NewRoot(strings.NewReader("too short")); err == nil {
		t.Error("a key was made of too little randomness")
	}
}
