package node

import (
	"testing"

	dbm "github.com/cometbft/cometbft-db"
)

func TestLateDB_EndsWhoWritesAfterItsEnd(t *testing.T) {
	db := &lateDB{DB: dbm.NewMemDB()}
	before := db.NewBatch()
	before.Set([]byte("k"), []byte("v"))
	if err := before.WriteSync(); err != nil {
		t.Fatal(err)
	}
	if v, err := db.Get([]byte("k")); err != nil || string(v) != "v" {
		t.Fatalf("a batch in time gives %q, %v", v, err)
	}
	late := db.NewBatch()
	late.Set([]byte("k"), []byte("w"))
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, write := range []func() error{late.Write, late.WriteSync} {
		ended, went := make(chan struct{}), false
		go func() {
			defer close(ended)
			write()
			went = true
		}()
		<-ended
		if went {
			t.Error("who writes late goes on")
		}
	}
	if v, err := db.Get([]byte("k")); err != nil || v != nil {
		t.Errorf("a late reader gets %q, %v", v, err)
	}
}
