package chat

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confab-chat/confab/agent"
	"github.com/confab-chat/confab/concierge"
	"github.com/confab-chat/confab/lightclient"
	"github.com/confab-chat/confab/namesvc"
	"github.com/confab-chat/confab/namesvc/wire"
)

// visitTime is how long a concierge may take to show that it is there before the
// entry names it.
const visitTime = 20 * time.Second

// Switch makes another concierge the one that keeps this account's mail: it
// changes the entry, has the queues made there, asks the old one to pass on what
// still comes, and tells the contacts. It returns when mail can come in at the new
// one; mail of the old one is fetched on for as long as it may have some. If the
// new one does not answer nothing is changed.
func (a *Agent) Switch(ctx context.Context, handle string, progress func(string)) error {
	if progress == nil {
		progress = func(string) {}
	}
	h, err := namesvc.ParseHandle(handle)
	if err != nil {
		return wire.Errorf(wire.Invalid, "switch concierge to %.40q: %w", handle, err)
	}
	if err := a.switchTo(ctx, h, progress); err != nil {
		return fmt.Errorf("switch concierge to %v: %w", h, err)
	}
	return nil
}

func (a *Agent) switchTo(ctx context.Context, h namesvc.Handle, progress func(string)) error {
	res, err := a.o.Client.Resolve(ctx, h, 0)
	if err != nil {
		return err
	}
	if err := a.visit(ctx, res.Entry); err != nil {
		return err
	}
	progress(fmt.Sprintf("%v is there", h))
	l, err := a.roster.ask(ctx, a.o.Account, 0)
	if err != nil {
		return err
	}
	now := l.entry.Records.Concierges
	if len(now) != 1 || now[0].Account != res.Entry.Account || now[0].Generation != res.Entry.Generation {
		if err := a.changeConcierge(ctx, res.Entry, progress); err != nil {
			return err
		}
	}
	if _, err := a.roster.ask(ctx, a.o.Account, 0); err != nil {
		return err
	}
	if _, err := a.post.HomeNow(ctx); err != nil { // what is known may be minutes old
		return err
	}
	if err := a.settleOffice(ctx); err != nil {
		return err
	}
	ids := a.roomIDs()
	for i, id := range ids {
		if err := a.readBoxes(ctx, id); err != nil {
			return fmt.Errorf("the entry is changed, and the rest goes on by itself: %w", err)
		}
		if n := i + 1; n == len(ids) || n%50 == 0 {
			progress(fmt.Sprintf("%d of %d queues are there", n, len(ids)))
		}
	}
	a.hurryAll()
	return nil
}

// visit looks whether a concierge is there and is who its entry says.
func (a *Agent) visit(ctx context.Context, e namesvc.Entry) error {
	service, err := concierge.ServiceOf(a.o.Client.Pin().ChainID, e)
	if err != nil {
		return err
	}
	if e.Records.Service.Consent {
		return wire.Errorf(wire.Unauthorized, "it serves only accounts that it has accepted: get an acceptance and use confab handle set-concierge --acceptance")
	}
	ctx, cancel := context.WithTimeout(ctx, visitTime)
	defer cancel()
	var last error = wire.Errorf(wire.Invalid, "its entry has no URL")
	for _, url := range e.Records.Service.URLs {
		c, err := concierge.Dial(ctx, url, service, nil)
		if err != nil {
			last = err
			continue
		}
		_, err = c.Describe(ctx)
		c.Close()
		if err == nil {
			return nil
		}
		last = err
	}
	return fmt.Errorf("nothing was changed, since it cannot be reached: %w", last)
}

// changeConcierge changes the entry.
func (a *Agent) changeConcierge(ctx context.Context, to namesvc.Entry, progress func(string)) error {
	names := agent.Names{Client: a.o.Client, Rand: a.o.Rand}
	_, err := names.Change(ctx, a.o.Account, a.o.Keys.Device, namesvc.OpRecords,
		func(e namesvc.Entry, _ namesvc.Devices, _ string) (any, error) {
			r := e.Records
			r.Concierges = []namesvc.Concierge{{Account: to.Account, Generation: to.Generation}}
			return r, nil
		}, func(p agent.Progress) {
			switch p.Step {
			case agent.Sending:
				progress("the change of your entry is sent")
			case agent.Done:
				progress(fmt.Sprintf("your entry names it, proven at height %d", p.Height))
			}
		})
	var reject *lightclient.RejectError
	if errors.As(err, &reject) {
		return fmt.Errorf("the chain refuses the change: %w", err)
	}
	return err
}

// leaveFormer asks concierges that were left to pass on what still comes, and
// takes over the vault.
func (a *Agent) leaveFormer(ctx context.Context) {
	a.mu.Lock()
	now := a.offices.now
	var to namesvc.AccountID
	if now != nil {
		to = now.office.Service.Account
	}
	var ask []*reading
	for _, r := range a.offices.former {
		if !r.told {
			ask = append(ask, r)
		}
	}
	var addresses []concierge.Address
	for _, r := range a.rooms {
		if !r.Made {
			a.mu.Unlock()
			return // what is passed on must find its queue
		}
		addresses = append(addresses, r.Address)
	}
	a.mu.Unlock()
	if now == nil {
		return
	}
	for _, r := range ask {
		order := concierge.ForwardOrder{To: to, Until: a.o.Now().Add(drainFor), Addresses: addresses}
		err := a.post.Ask(ctx, r.office, func(ctx context.Context, c *concierge.Client) error {
			_, err := c.Forward(ctx, order)
			return err
		})
		if err != nil {
			if ctx.Err() == nil {
				a.log.Info("a former concierge does not pass mail on yet; what it has is fetched from there", "concierge", nameOf(r.office), "error", err)
			}
			continue
		}
		a.mu.Lock()
		r.told = true
		a.mu.Unlock()
		a.log.Info("a former concierge passes on what still comes", "concierge", nameOf(r.office))
		if err := a.change(ctx, func(b *batch) error { b.keepOffices(); return nil }); err != nil {
			a.log.Error("keep the list of concierges", "error", err)
		}
	}
}

// keepOffices writes the list of concierges as it is.
func (b *batch) keepOffices() {
	var list []keptOffice
	if now := b.a.offices.now; now != nil {
		list = append(list, now.kept())
	}
	for _, r := range b.a.offices.former {
		list = append(list, r.kept())
	}
	b.notes[officesNote] = wire.Encode(list)
}
