/* flash_family.h - which of the flash_*.cpp beside it is the board's: the rest are empty.
 *
 * Those that know no partition table take the last SCL_FLASH_BYTES of the part's flash, if the
 * program ends below: it is in no file system of the core's, and an upload leaves it as it is.
 */
#ifndef SCL_FLASH_FAMILY_H
#define SCL_FLASH_FAMILY_H

#include <Arduino.h>

#include "port.h"

#define SCL_FLASH_BYTES 0x40000u /* two sectors of an STM32F4 */

#if defined(ARDUINO_ARCH_ESP32)
#define SCL_FLASH_ESP32
#elif defined(ARDUINO_ARCH_STM32) && defined(STM32F4xx) && !defined(FLASH_BANK_2)
#define SCL_FLASH_STM32F4 /* parts with two banks number their sectors otherwise */
#elif defined(ARDUINO_ARCH_RP2040)
#define SCL_FLASH_RP2040
#elif defined(ARDUINO_ARCH_NRF5) && defined(NRF52) && !defined(S132)
#define SCL_FLASH_NRF52 /* with a SoftDevice the NVMC is not the program's to use */
#else
#define SCL_FLASH_NONE
#endif

#endif
