// A peer: Go's net/http. Prints its address.
package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

func hello(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, "Hello, world!\n")
}

func main() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Println(listener.Addr())
	http.HandleFunc("/hello", func(w http.ResponseWriter, r *http.Request) { hello(w) })
	http.HandleFunc("/sleep", func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(time.Second)
		hello(w)
	})
	panic(http.Serve(listener, nil))
}
