// flash_esp32.cpp - flash for the store on ESP32: the data partition that its core's partition
// table calls spiffs, which this firmware uses for nothing else.
#include "flash_family.h"

#ifdef SCL_FLASH_ESP32

#include <esp_partition.h>

static const esp_partition_t *partition()
{
    static const esp_partition_t *found = esp_partition_find_first(
        ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_SPIFFS, nullptr);
    return found;
}

// Sectors of 4096 bytes; units of 16 bytes suit encrypted flash, too.
extern "C" port_flash port_flash_geometry(void)
{
    return {partition() == nullptr ? 0 : partition()->size, 4096, 16};
}

extern "C" bool port_flash_erase(uint32_t offset)
{
    return esp_partition_erase_range(partition(), offset, 4096) == ESP_OK;
}

extern "C" bool port_flash_program(uint32_t offset, const uint8_t *data, uint32_t n)
{
    return esp_partition_write(partition(), offset, data, n) == ESP_OK;
}

extern "C" void port_flash_read(uint32_t offset, uint8_t *data, uint32_t n)
{
    (void)esp_partition_read(partition(), offset, data, n); // what is not read fails its CRC
}

#endif
