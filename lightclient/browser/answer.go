//go:build js && wasm

package main

import (
	"encoding/hex"
	"time"

	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
)

// answer returns a proven answer for JavaScript. Times are texts in ISO 8601,
// hashes and ids are in hexadecimal.
func answer(r *lightclient.Resolution) map[string]any {
	e := r.Entry
	out := map[string]any{
		"found": true, "handle": r.Handle.String(), "account": e.Account.String(), "kind": e.Kind.String(),
		"status": r.Status.String(), "generation": e.Generation, "lease": r.Generation, "sequence": float64(e.Seq),
		"registered": iso(e.Registered), "expires": iso(e.Expires), "deviceSequence": float64(e.DeviceSeq),
		"profile": hex.EncodeToString(e.Records.Profile), "avatar": hex.EncodeToString(e.Records.Avatar),
		"alsoKnownAs": texts(e.Records.AlsoKnownAs), "concierges": concierges(r), "service": service(e), "pending": nil,
		"proof": proof(r.Proof),
	}
	handles := []any{}
	for _, l := range e.Handles {
		handles = append(handles, l.Handle.String())
	}
	out["handles"] = handles
	if p := e.Pending; p != nil {
		out["pending"] = map[string]any{
			"kind": p.Kind.String(), "handle": p.Handle.String(), "op": hex.EncodeToString(p.Op[:]), "effective": iso(p.Effective),
		}
	}
	return out
}

// concierges returns the services that buffer the account's messages, with the
// handles that their own proven entries give them.
func concierges(r *lightclient.Resolution) []any {
	list := []any{}
	for _, c := range r.Entry.Records.Concierges {
		one := map[string]any{"account": c.Account.String(), "handle": "", "urls": []any{}, "gone": true}
		if e, err := r.Serving(c); err == nil {
			if h := e.Primary(); h != "" {
				one["handle"] = h.String()
			}
			if s := e.Records.Service; s != nil && e.Generation == c.Generation && s.Roles&namesvc.RoleConcierge != 0 {
				one["gone"], one["urls"] = false, texts(s.URLs)
			}
		}
		list = append(list, one)
	}
	return list
}

// service returns how a service is reached, nil for who is none.
func service(e namesvc.Entry) any {
	s := e.Records.Service
	if s == nil {
		return nil
	}
	return map[string]any{"roles": s.Roles.String(), "urls": texts(s.URLs), "peers": texts(s.Peers), "key": s.Key.String(), "consent": s.Consent}
}

// proof returns how an answer is known.
func proof(p lightclient.Proof) map[string]any {
	return map[string]any{
		"assurance": p.Assurance.String(), "height": float64(p.Height), "time": p.Time.UTC().Format(time.RFC3339),
		"ageSeconds": p.Age.Seconds(), "pin": p.Pin.String(), "source": p.Source, "confirmedBy": texts(p.Agree),
		"notes": texts(p.Notes), "bytes": len(p.Bundle),
	}
}

func iso(seconds uint64) string {
	return time.Unix(int64(min(seconds, 1<<37)), 0).UTC().Format(time.RFC3339)
}

func texts(list []string) []any {
	out := []any{}
	for _, s := range list {
		out = append(out, lightclient.Printable(s))
	}
	return out
}
