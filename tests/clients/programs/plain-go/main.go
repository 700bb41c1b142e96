// Posts a large body again and again with net/http, and prints how often each status or error came back, as JSON.
// Usage: plain URL TRIES BYTES [HEADER VALUE]…
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"syscall"
	"time"
)

func main() {
	tries, _ := strconv.Atoi(os.Args[2])
	size, _ := strconv.Atoi(os.Args[3])
	body := bytes.Repeat([]byte("x"), size)
	heard := map[string]int{}
	client := &http.Client{Timeout: 60 * time.Second}
	for try := 0; try < tries; try++ {
		heard[post(client, os.Args[1], body, os.Args[4:])]++
	}
	json.NewEncoder(os.Stdout).Encode(heard)
}

func post(client *http.Client, url string, body []byte, headers []string) string {
	request, _ := http.NewRequest("POST", url, bytes.NewReader(body))
	for at := 0; at+1 < len(headers); at += 2 {
		request.Header.Set(headers[at], headers[at+1])
	}
	answer, err := client.Do(request)
	if err != nil {
		var number syscall.Errno
		if errors.As(err, &number) {
			return number.Error()
		}
		return err.Error()
	}
	io.Copy(io.Discard, answer.Body)
	answer.Body.Close()
	return strconv.Itoa(answer.StatusCode)
}
