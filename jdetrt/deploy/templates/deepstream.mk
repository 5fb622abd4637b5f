# make: builds the parser on a machine with DeepStream.
DEEPSTREAM ?= /opt/nvidia/deepstream/deepstream
CXXFLAGS += -O2 -Wall -Wextra -std=c++14 -fPIC -I$(DEEPSTREAM)/sources/includes -I/usr/local/cuda/include

libnvdsinfer_jde.so: nvdsinfer_jde.cpp
	$(CXX) $(CXXFLAGS) -shared $< -o $@

clean:
	rm -f libnvdsinfer_jde.so
.PHONY: clean
