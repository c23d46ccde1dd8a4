package e2ee_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/confab-chat/confab/talk/e2ee"
	"github.com/confab-chat/confab/talk/mls"
)

// renderings are the ways in which a program may put v into text.
func renderings(v any) string {
	var b strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "% x", "%#x", "%10.3v"} {
		fmt.Fprintf(&b, verb+"\n", v)
	}
	var log bytes.Buffer
	slog.New(slog.NewTextHandler(&log, nil)).Info("said", "value", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("said", "value", v)
	b.Write(log.Bytes())
	if j, err := json.Marshal(v); err == nil {
		b.Write(j)
	}
	return strings.ToLower(b.String())
}

// forms are the ways in which a secret could turn up in text.
func forms(secret []byte) []string {
	var decimal, hexes []string
	for _, b := range secret[:8] {
		decimal = append(decimal, fmt.Sprint(b))
		hexes = append(hexes, fmt.Sprintf("%#x", b))
	}
	quoted, _ := json.Marshal(secret[:6])
	return []string{
		hex.EncodeToString(secret[:8]), fmt.Sprintf("% x", secret[:8]), strings.Join(decimal, " "), strings.Join(decimal, ","), strings.Join(decimal, ", "),
		strings.Join(hexes, ", "), strings.ToLower(string(secret[:8])), strings.ToLower(strings.Trim(string(quoted), `"`)),
	}
}

func TestSecrets_NeverPrint(t *testing.T) {
	w, all := pair(t, 1, 1)
	k := w.envelopeKey()
	r := e2ee.Reach{Address: [32]byte(w.filled(32)), Key: k}
	c := all[0].commit(w.device(party(1), all[0].parties...))
	stored, err := c.MarshalBinary()
	w.ok(err)
	o := all[0].offer()
	secrets := [][]byte{k[:], r.Address[:], c.Slot, c.Message[100:], c.Welcome[100:], stored[100:]}
	for _, rec := range all[0].stored() {
		if strings.ContainsAny(rec.Key[:1], "ksac") { // those that end with a secret
			secrets = append(secrets, rec.Value[len(rec.Value)-16:])
		}
	}
	seed := all[0].key.Seed()
	secrets = append(secrets, seed[:])
	m := all[0].say("secret words")
	opened, err := all[1].s.Open(m)
	w.ok(err)
	var text strings.Builder
	for _, v := range []any{
		k, &k, []e2ee.EnvelopeKey{k}, map[string]e2ee.EnvelopeKey{"k": k}, r, &r, struct{ R e2ee.Reach }{r}, struct{ R *e2ee.Reach }{&r},
		all[0].s, struct{ S *e2ee.Session }{all[0].s}, c, struct{ C *e2ee.Change }{c}, o, &o, all[0].options(),
		fmt.Errorf("with %v and %v", k, r), mls.Record{Key: "k", Value: k[:]},
	} {
		text.WriteString(renderings(v))
	}
	fmt.Fprintf(&text, "%v %+v %#v %s %x", opened, opened, opened, opened, opened)
	for i, s := range secrets {
		for _, f := range forms(s) {
			if strings.Contains(text.String(), f) {
				t.Errorf("secret %d shows as %q", i, f)
			}
		}
	}
	if strings.Contains(text.String(), "secret words") {
		t.Error("shows what people write")
	}
}

func TestSecrets_DoNotMarshal(t *testing.T) {
	for name, v := range map[string]any{"key": e2ee.EnvelopeKey{1}, "reach": e2ee.Reach{}, "change": &e2ee.Change{}} {
		if b, err := json.Marshal(v); err == nil {
			t.Errorf("%s marshals to %s", name, b)
		}
	}
}
