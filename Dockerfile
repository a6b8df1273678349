# One small static image per program: docker build --build-arg PROGRAM=orderer .
# Reproducible: no build ids, no paths, no time stamps; multi-arch by TARGETARCH.
FROM --platform=$BUILDPLATFORM golang:1.26 AS build
ARG PROGRAM TARGETOS TARGETARCH
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH go build -trimpath -buildvcs=false -ldflags="-s -w -buildid=" -o /out/program ./cmd/$PROGRAM

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/program /program
USER 65532:65532
ENTRYPOINT ["/program"]
