package frame_test

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/confab-chat/confab/stream"
	"github.com/confab-chat/confab/stream/frame"
	"github.com/confab-chat/confab/stream/pebblestore"
)

// everybody may do everything.
type everybody struct{}

func (everybody) May(frame.Action, stream.ID) error { return nil }
func (everybody) Reader() (stream.Reader, bool)     { return stream.Reader{}, false }

func Example() {
	ctx := context.Background()
	store, err := pebblestore.Open("streams", pebblestore.Options{FS: vfs.NewMem()})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer store.Close()
	channel := stream.ID{1}
	store.Configure(ctx, channel, stream.Settings{})
	server := frame.NewServer(store, frame.Options{})
	defer server.Close(ctx)

	here, there := frame.Pipe() // or frame.Over a connection of bytes
	go server.Serve(ctx, there, everybody{})
	client, err := frame.Dial(ctx, here)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.Close()

	news, err := client.Subscribe(ctx, channel, 0, nil)
	if err != nil {
		fmt.Println(err)
		return
	}
	stream.Append(ctx, client, channel, stream.Message{Body: []byte("hello")})
	page, err := news.Next(ctx)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%d: %s\n", page.Entries[0].Seq, page.Entries[0].Body)
	// Output: 1: hello
}
